// Where a port of the workspace is seen from the browser.
import type { WorkspaceStatus } from '../platform/gateway'

export const previewUrl = (status: Pick<WorkspaceStatus, 'preview_url_template'>, port: number): string =>
  status.preview_url_template.replaceAll('{port}', String(port))
