// The API's types, by the names that the pages use. Generated from openapi/roost.json by `npm run generate`.
import type { components } from '../../generated/control'

type Schemas = components['schemas']
export type Workspace = Schemas['Workspace']
export type WorkspaceState = Schemas['WorkspaceState']
export type Action = Schemas['Action']
// Everything in it has a default.
export type CreateWorkspace = Partial<Schemas['CreateWorkspace']>
export type DeletePreview = Schemas['DeletePreview']
export type FolderSize = Schemas['FolderSize']
export type Figures = Schemas['Figures']
export type Point = Schemas['Point']
export type PointList = Schemas['PointList']
export type Start = Schemas['Start']
export type Step = Schemas['Step']
export type Me = Schemas['Me']
export type Server = Schemas['Server']
export type HostStatus = Schemas['HostStatus']
export type Remote = Schemas['Remote']
export type Token = Schemas['Token']
export type NewToken = Schemas['NewToken']
export type User = Schemas['User']
export type OneTimeLink = Schemas['OneTimeLink']
export type LinkInfo = Schemas['LinkInfo']
export type GitCredential = Schemas['GitCredential']
export type SavedWork = Schemas['SavedWork']
export type WorkList = Schemas['WorkList']
export type WorkSaved = Schemas['WorkSaved']
export type WorkRestored = Schemas['WorkRestored']
export type Account = Schemas['Account']
export type Usage = Schemas['Usage']
export type Problem = Schemas['Problem']
export type Size = Schemas['Size']

// What the event stream carries; the `event:` field is the variant's name.
export type ControlEvent =
  | { event: 'hello' }
  | { event: 'resync' }
  | { event: 'workspace'; workspace: Workspace }
  | { event: 'deleted'; id: string; name: string }
  | { event: 'step'; workspace: string; epoch: number; step: Step }
