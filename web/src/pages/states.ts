// States in the words and colours of the pages.
import type { Workspace } from '../platform/control/contract'

type Tone = 'good' | 'busy' | 'bad' | 'quiet'

// Label and tone of a workspace's badge.
export function badge(workspace: Workspace): { label: string; tone: Tone } {
  if (workspace.state === 'running' && workspace.unresponsive) return { label: 'Not answering', tone: 'bad' }
  if (workspace.paused) return { label: 'Paused', tone: 'bad' }
  if (workspace.state === 'running' && workspace.clone.state === 'failed') return { label: 'Clone failed', tone: 'bad' }
  if (workspace.state === 'running' && workspace.clone.state === 'running') return { label: 'Cloning', tone: 'busy' }
  switch (workspace.state) {
    case 'queued':
      return { label: 'Waiting', tone: 'busy' }
    case 'provisioning':
      return { label: 'Starting', tone: 'busy' }
    case 'running':
      return { label: 'Running', tone: 'good' }
    case 'stopping':
      return { label: 'Stopping', tone: 'busy' }
    case 'stopped':
      return { label: 'Stopped', tone: 'quiet' }
    case 'failed':
      return { label: 'Failed', tone: 'bad' }
    case 'deleting':
    case 'deleted':
      return { label: 'Deleting', tone: 'busy' }
  }
}
