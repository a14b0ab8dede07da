// Find in files and quick open: answered by the workspace, streamed, stopped when nobody waits any more.
import { getService } from '@codingame/monaco-vscode-api/services'
import { CancellationToken } from '@codingame/monaco-vscode-api/vscode/vs/base/common/cancellation'
import type { IExpression } from '@codingame/monaco-vscode-api/vscode/vs/base/common/glob'
import { URI } from '@codingame/monaco-vscode-api/vscode/vs/base/common/uri'
import {
  type IFileMatch,
  type IFileQuery,
  type IFolderQuery,
  type ISearchComplete,
  type ISearchProgressItem,
  type ISearchResultProvider,
  type ITextQuery,
  SearchProviderType,
} from '@codingame/monaco-vscode-api/vscode/vs/workbench/services/search/common/search'
import { ISearchService } from '@codingame/monaco-vscode-api/vscode/vs/workbench/services/search/common/search.service'
import type { FileMatches } from '../../platform/search'
import { searchNames, searchText } from '../../platform/search'
import type { Session } from '../../platform/session/session'
import type { Feature } from '../../workbench/context'

export function searchFeature(): Feature {
  return {
    startLater: async ({ session }) => {
      const service = await getService(ISearchService)
      const provider = new WorkspaceSearch(session)
      service.registerSearchResultProvider('file', SearchProviderType.file, provider)
      service.registerSearchResultProvider('file', SearchProviderType.text, provider)
    },
  }
}

class WorkspaceSearch implements ISearchResultProvider {
  constructor(private readonly session: Session) {}

  async getAIName(): Promise<undefined> {}

  async clearCache(): Promise<void> {}

  async textSearch(
    query: ITextQuery,
    onProgress?: (item: ISearchProgressItem) => void,
    token: CancellationToken = CancellationToken.None,
  ): Promise<ISearchComplete> {
    const { contentPattern } = query
    const results = new Map<string, IFileMatch>()
    const limitHit = await this.#perFolder(query.folderQueries, token, (folder, signal) =>
      searchText(
        this.session,
        {
          root: folder.folder.path,
          pattern: contentPattern.pattern,
          regex: contentPattern.isRegExp ?? false,
          caseSensitive: contentPattern.isCaseSensitive ?? false,
          wholeWord: contentPattern.isWordMatch ?? false,
          includes: globs(query.includePattern, folder.includePattern),
          excludes: excludes(query, folder),
          noIgnore: folder.disregardIgnoreFiles ?? false,
          maxResults: query.maxResults ?? 0,
        },
        (files) => {
          for (const each of files) {
            const match = toMatch(each)
            const known = results.get(each.path)
            if (known) known.results?.push(...(match.results ?? []))
            else results.set(each.path, match)
            onProgress?.(match)
          }
        },
        signal,
      ),
    )
    return { results: [...results.values()], limitHit, messages: [] }
  }

  async fileSearch(query: IFileQuery, token: CancellationToken = CancellationToken.None): Promise<ISearchComplete> {
    const results: IFileMatch[] = []
    const limitHit = await this.#perFolder(query.folderQueries, token, (folder, signal) =>
      searchNames(
        this.session,
        {
          root: folder.folder.path,
          query: query.filePattern ?? '',
          includes: globs(query.includePattern, folder.includePattern),
          excludes: excludes(query, folder),
          noIgnore: folder.disregardIgnoreFiles ?? false,
          maxResults: query.exists ? 1 : (query.maxResults ?? 0),
        },
        (paths) => results.push(...paths.map((path) => ({ resource: URI.file(path) }))),
        signal,
      ),
    )
    return { results, limitHit: query.exists ? results.length > 0 : limitHit, messages: [] }
  }

  async #perFolder(
    folders: readonly IFolderQuery[],
    token: CancellationToken,
    search: (folder: IFolderQuery, signal: AbortSignal) => Promise<boolean>,
  ): Promise<boolean> {
    const abort = new AbortController()
    const cancellation = token.onCancellationRequested(() => abort.abort())
    try {
      const hits = await Promise.all(folders.map((folder) => search(folder, abort.signal)))
      return hits.some(Boolean)
    } catch (error) {
      // What was found until then is what a person sees of a search that they replaced by another.
      if (abort.signal.aborted) return false
      throw error
    } finally {
      cancellation.dispose()
    }
  }
}

/** The patterns that are switched on; conditions on sibling files have no counterpart and count as on. */
function globs(...expressions: (IExpression | undefined)[]): string[] {
  return expressions.flatMap((expression) =>
    Object.entries(expression ?? {}).flatMap(([pattern, on]) => (on === false ? [] : [pattern])),
  )
}

const excludes = (query: ITextQuery | IFileQuery, folder: IFolderQuery): string[] =>
  globs(query.excludePattern, ...(folder.excludePattern ?? []).map(({ pattern }) => pattern))

function toMatch({ path, lines }: FileMatches): IFileMatch {
  return {
    resource: URI.file(path),
    results: lines.map(({ line, text, spans }) => ({
      previewText: text,
      rangeLocations: spans.map(({ start, end }) => ({
        // VS Code counts lines and columns of a search from 0.
        source: { startLineNumber: line - 1, startColumn: start, endLineNumber: line - 1, endColumn: end },
        preview: { startLineNumber: 0, startColumn: start, endLineNumber: 0, endColumn: end },
      })),
    })),
  }
}
