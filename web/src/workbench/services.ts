// The parts of VS Code that this editor consists of.
import getAccessibility from '@codingame/monaco-vscode-accessibility-service-override'
import getBulkEdit from '@codingame/monaco-vscode-bulk-edit-service-override'
import getConfiguration from '@codingame/monaco-vscode-configuration-service-override'
import getDialogs from '@codingame/monaco-vscode-dialogs-service-override'
import getEnvironment from '@codingame/monaco-vscode-environment-service-override'
import getExplorer from '@codingame/monaco-vscode-explorer-service-override'
import getFiles from '@codingame/monaco-vscode-files-service-override'
import getKeybindings from '@codingame/monaco-vscode-keybindings-service-override'
import getLanguages from '@codingame/monaco-vscode-languages-service-override'
import getLifecycle from '@codingame/monaco-vscode-lifecycle-service-override'
import getLog from '@codingame/monaco-vscode-log-service-override'
import getMarkers from '@codingame/monaco-vscode-markers-service-override'
import getModel from '@codingame/monaco-vscode-model-service-override'
import getMultiDiff from '@codingame/monaco-vscode-multi-diff-editor-service-override'
import getNotifications from '@codingame/monaco-vscode-notifications-service-override'
import getOutline from '@codingame/monaco-vscode-outline-service-override'
import getOutput from '@codingame/monaco-vscode-output-service-override'
import getPreferences from '@codingame/monaco-vscode-preferences-service-override'
import getQuickAccess from '@codingame/monaco-vscode-quickaccess-service-override'
import getSearch from '@codingame/monaco-vscode-search-service-override'
import getSecretStorage from '@codingame/monaco-vscode-secret-storage-service-override'
import getSnippets from '@codingame/monaco-vscode-snippets-service-override'
import getStorage from '@codingame/monaco-vscode-storage-service-override'
import getTask from '@codingame/monaco-vscode-task-service-override'
import getTerminal from '@codingame/monaco-vscode-terminal-service-override'
import getTextmate from '@codingame/monaco-vscode-textmate-service-override'
import getTheme from '@codingame/monaco-vscode-theme-service-override'
import getUserDataProfile from '@codingame/monaco-vscode-user-data-profile-service-override'
import getWorkbench from '@codingame/monaco-vscode-workbench-service-override'
import getWorkingCopy from '@codingame/monaco-vscode-working-copy-service-override'
import getWorkspaceTrust from '@codingame/monaco-vscode-workspace-trust-service-override'
import { storageDefaults } from './defaults'

export const serviceOverrides = () => ({
  ...getLog(),
  ...getFiles(),
  ...getModel(),
  ...getNotifications(),
  ...getDialogs(),
  ...getConfiguration(),
  ...getKeybindings(),
  ...getTextmate(),
  ...getTheme(),
  ...getLanguages(),
  ...getSecretStorage(),
  ...getPreferences(),
  ...getOutline(),
  ...getSnippets(),
  ...getOutput(),
  ...getTerminal(),
  ...getSearch(),
  ...getMarkers(),
  ...getAccessibility(),
  ...getStorage({ fallbackOverride: storageDefaults }),
  ...getLifecycle(),
  ...getEnvironment(),
  ...getWorkspaceTrust(),
  ...getWorkingCopy(),
  ...getUserDataProfile(),
  ...getTask(),
  ...getMultiDiff(),
  ...getExplorer(),
  ...getBulkEdit(),
  ...getWorkbench(),
  ...getQuickAccess({ isKeybindingConfigurationVisible: () => true, shouldUseGlobalPicker: () => true }),
})
