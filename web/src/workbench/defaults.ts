// Settings that differ from VS Code's own defaults; what a person sets wins over them.

/** Folders full of files that nobody edits by hand. */
export const watcherExcludes = [
  '**/.git/objects/**',
  '**/.git/subtree-cache/**',
  '**/node_modules/*/**',
  '**/.venv/**',
  '**/__pycache__/**',
  '**/target/**',
]

export const configurationDefaults: Record<string, unknown> = {
  // The look follows the system until a person chooses.
  'window.autoDetectColorScheme': true,
  'workbench.preferredDarkColorTheme': 'Dark Modern',
  'workbench.preferredLightColorTheme': 'Light Modern',
  'workbench.colorTheme': 'Dark Modern',
  'workbench.iconTheme': 'vs-seti',
  'workbench.startupEditor': 'none',
  'workbench.editor.languageDetection': false,
  'workbench.editor.useModal': 'off',
  // The machine is the user's own, and nothing runs in the browser on its behalf.
  'security.workspace.trust.enabled': false,
  // No request leaves the server's own domains.
  'telemetry.telemetryLevel': 'off',
  'workbench.enableExperiments': false,
  'workbench.settings.enableNaturalLanguageSearch': false,
  'extensions.ignoreRecommendations': true,
  'chat.disableAIFeatures': true,
  'chat.commandCenter.enabled': false,
  'workbench.secondarySideBar.defaultVisibility': 'hidden',
  // biome-ignore lint/suspicious/noTemplateCurlyInString: VS Code fills these in.
  'window.title': '${dirty}${activeEditorShort}${separator}${rootName}${separator}Roost',
  'window.commandCenter': true,
  'workbench.layoutControl.enabled': true,
  'window.menuBarVisibility': 'compact',
  'files.autoSave': 'off',
  'files.simpleDialog.enable': true,
  'files.watcherExclude': Object.fromEntries(watcherExcludes.map((pattern) => [pattern, true])),
  'terminal.integrated.enablePersistentSessions': true,
  'terminal.integrated.gpuAcceleration': 'off',
  'terminal.integrated.shellIntegration.enabled': false,
  'terminal.integrated.initialHint': false,
  'terminal.integrated.stickyScroll.enabled': false,
  'terminal.integrated.suggest.enabled': false,
}

/** What VS Code keeps apart from settings, until a person changes it: hidden are parts that say nothing here. */
export const storageDefaults: Record<string, unknown> = {
  'workbench.activity.showAccounts': false,
  'workbench.statusbar.hidden': JSON.stringify(['status.workbench.keyboardLayout']),
}
