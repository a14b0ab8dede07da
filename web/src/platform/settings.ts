// A person's settings as the server keeps them, asked for while the editor's code loads.
import type { Gateway, StoredSetting } from './gateway'

export const SETTING_NAMES = ['settings', 'keybindings', 'tasks', 'snippets'] as const
export type SettingName = (typeof SETTING_NAMES)[number]

export type EarlySettings = Record<SettingName, Promise<StoredSetting | undefined>>

export function loadSettings(gateway: Gateway): EarlySettings {
  const load = (name: SettingName) => gateway.loadSetting(name).catch(() => undefined)
  return Object.fromEntries(SETTING_NAMES.map((name) => [name, load(name)])) as EarlySettings
}
