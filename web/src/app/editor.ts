// The editor with all its parts; the one place that knows them all.
import { commandsFeature } from '../features/commands'
import { filesFeature } from '../features/files'
import { portsFeature } from '../features/ports'
import { searchFeature } from '../features/search'
import { settingsFeature } from '../features/settings'
import { statusFeature } from '../features/status'
import { terminalFeature } from '../features/terminal'
import type { EarlySettings } from '../platform/settings'
import type { WorkbenchContext } from '../workbench/context'
import { type StartOptions, startWorkbench } from '../workbench/workbench'

export function startEditor(context: WorkbenchContext, settings: EarlySettings, options: StartOptions): Promise<void> {
  const features = [
    settingsFeature(settings),
    filesFeature(),
    terminalFeature(),
    statusFeature(),
    commandsFeature(),
    portsFeature(),
    searchFeature(),
  ]
  return startWorkbench(context, features, options)
}
