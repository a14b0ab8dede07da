// How terminals are drawn: by the graphics card where there is one.
import { configurationRegistry } from '@codingame/monaco-vscode-configuration-service-override'

/** A card that is only imitated by the processor draws text slower than the page itself does. */
export function drawTerminalsWithoutImitatedCard(): void {
  if (!isImitated(graphicsCard())) return
  configurationRegistry.registerDefaultConfigurations([{ overrides: { 'terminal.integrated.gpuAcceleration': 'off' } }])
}

function graphicsCard(): string {
  const context = document.createElement('canvas').getContext('webgl2')
  const information = context?.getExtension('WEBGL_debug_renderer_info')
  const name = information ? String(context?.getParameter(information.UNMASKED_RENDERER_WEBGL)) : ''
  context?.getExtension('WEBGL_lose_context')?.loseContext()
  return name
}

const isImitated = (card: string): boolean => card === '' || /swiftshader|llvmpipe|softpipe|basic render/i.test(card)
