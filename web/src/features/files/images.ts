// Pictures as what they show. VS Code leaves that to an extension, which would want a host of its own.
import type { CancellationToken } from '@codingame/monaco-vscode-api/vscode/vs/base/common/cancellation'
import type { Event } from '@codingame/monaco-vscode-api/vscode/vs/base/common/event'
import { basename } from '@codingame/monaco-vscode-api/vscode/vs/base/common/resources'
import { URI } from '@codingame/monaco-vscode-api/vscode/vs/base/common/uri'
import type { IEditorOptions } from '@codingame/monaco-vscode-api/vscode/vs/platform/editor/common/editor'
import type { IFileChange } from '@codingame/monaco-vscode-api/vscode/vs/platform/files/common/files'
import { type IEditorOpenContext, Verbosity } from '@codingame/monaco-vscode-api/vscode/vs/workbench/common/editor'
import type { IEditorGroup } from '@codingame/monaco-vscode-api/vscode/vs/workbench/services/editor/common/editorGroupsService'
import {
  EditorInput,
  EditorInputCapabilities,
  EditorPane,
  type IEditorSerializer,
  RegisteredEditorPriority,
  registerEditor,
  registerEditorPane,
  registerEditorSerializer,
} from '@codingame/monaco-vscode-workbench-service-override'
import type { Files } from '../../platform/files'
import './images.css'

const ID = 'roost.image'
const NAME = 'Image Preview'
/** What every browser shows; an SVG is text that people edit. */
const PATTERN = '*.{png,jpg,jpeg,jpe,gif,bmp,ico,webp,avif}'

/** Before the editor's services exist, so that pictures that were open come back with the page. */
export function registerImages(files: Files, changes: Event<readonly IFileChange[]>): void {
  class ImagePane extends EditorPane {
    readonly #picture = document.createElement('div')
    #address = ''

    constructor(group: IEditorGroup) {
      super(ID, group)
      this._register(
        changes((list) => {
          const { resource } = this
          if (resource && list.some((change) => change.resource.path === resource.path)) void this.#show(resource)
        }),
      )
    }

    protected override createEditor(parent: HTMLElement): void {
      this.#picture.className = 'roost-picture'
      this.#picture.tabIndex = 0
      parent.append(this.#picture)
    }

    override async setInput(
      input: EditorInput,
      options: IEditorOptions | undefined,
      context: IEditorOpenContext,
      token: CancellationToken,
    ): Promise<void> {
      await super.setInput(input, options, context, token)
      if (this.resource) await this.#show(this.resource)
    }

    override clearInput(): void {
      this.#draw('')
      super.clearInput()
    }

    override layout({ width, height }: { width: number; height: number }): void {
      this.#picture.style.width = `${width}px`
      this.#picture.style.height = `${height}px`
    }

    override focus(): void {
      this.#picture.focus()
    }

    get resource(): URI | undefined {
      return this.input?.resource
    }

    async #show(resource: URI): Promise<void> {
      const caption = document.createElement('p')
      const image = new Image()
      let address = ''
      try {
        const info = await files.stat(resource.path)
        const bytes = await files.read(resource.path, { size: Number(info.size) })
        address = URL.createObjectURL(new Blob([bytes as Uint8Array<ArrayBuffer>]))
        image.src = address
        image.alt = basename(resource)
        await image.decode()
        caption.textContent = `${image.naturalWidth} × ${image.naturalHeight}, ${size(bytes.length)}`
      } catch {
        caption.textContent = `${basename(resource)} cannot be shown: it is gone, or is no picture that this browser knows.`
      }
      // Another file may be shown by now.
      if (this.resource?.path !== resource.path) return URL.revokeObjectURL(address)
      this.#draw(address, ...(image.naturalWidth > 0 ? [image] : []), caption)
    }

    #draw(address: string, ...content: HTMLElement[]): void {
      URL.revokeObjectURL(this.#address)
      this.#address = address
      this.#picture.replaceChildren(...content)
    }
  }

  registerEditorPane(ID, NAME, ImagePane, [ImageInput])
  registerEditorSerializer(ID, ImageSerializer)
  const { default: first, option } = RegisteredEditorPriority
  const information = { id: ID, label: NAME, priority: { editor: first, diff: option, merge: option } }
  void registerEditor(
    PATTERN,
    information,
    { singlePerResource: true },
    {
      createEditorInput: ({ resource, options }) => ({ editor: new ImageInput(resource), options }),
    },
  )
}

class ImageInput extends EditorInput {
  constructor(override readonly resource: URI) {
    super()
  }
  override get typeId(): string {
    return ID
  }
  override get editorId(): string {
    return ID
  }
  override get capabilities(): EditorInputCapabilities {
    return EditorInputCapabilities.Readonly
  }
  override getName(): string {
    return basename(this.resource)
  }
  override getTitle(verbosity?: Verbosity): string {
    return verbosity === Verbosity.SHORT ? this.getName() : this.resource.path
  }
}

class ImageSerializer implements IEditorSerializer {
  canSerialize(): boolean {
    return true
  }
  serialize(input: EditorInput): string | undefined {
    return input.resource?.path
  }
  deserialize(_services: unknown, path: string): EditorInput {
    return new ImageInput(URI.file(path))
  }
}

const size = (bytes: number): string =>
  bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`
