// Has what colours the first file ready by the time its text is there, instead of beginning then.

import { registerServiceInitializePostParticipant } from '@codingame/monaco-vscode-api/lifecycle'
import { IExtensionService, ILanguageService } from '@codingame/monaco-vscode-api/services'
import { URI } from '@codingame/monaco-vscode-api/vscode/vs/base/common/uri'
import { TokenizationRegistry } from '@codingame/monaco-vscode-api/vscode/vs/editor/common/languages'
import { ITextMateTokenizationService } from '@codingame/monaco-vscode-textmate-service-override'

/**
 * Lets the editor learn which languages and grammars there are before it draws anything, which is soon done, and
 * begins to load the grammar of `file`.
 */
export function prepareColours(file: string): void {
  registerServiceInitializePostParticipant(async (services) => {
    const languages = services.get(ILanguageService)
    const extensions = services.get(IExtensionService)
    // It learns of the grammars only once somebody has asked for it.
    services.get(ITextMateTokenizationService)
    await extensions.whenInstalledExtensionsRegistered()
    performance.mark('roost:registered')
    const language = languages.guessLanguageIdByFilepathOrFirstLine(URI.file(file))
    // Not waited for: some grammars stand on fifty others.
    if (language) void TokenizationRegistry.getOrCreate(language)?.then(() => performance.mark('roost:grammar'))
  })
}
