// Remembers whether the editor is light or dark, so that the page starts in that look.
import { getService, IThemeService } from '@codingame/monaco-vscode-api/services'
import { ColorScheme } from '@codingame/monaco-vscode-api/vscode/vs/workbench/browser/web.api'
import { rememberLook } from '../platform/look'

export async function rememberTheme(): Promise<void> {
  const themes = await getService(IThemeService)
  const keep = () => {
    const { type } = themes.getColorTheme()
    rememberLook(type === ColorScheme.LIGHT || type === ColorScheme.HIGH_CONTRAST_LIGHT ? 'light' : 'dark')
  }
  keep()
  themes.onDidColorThemeChange(keep)
}
