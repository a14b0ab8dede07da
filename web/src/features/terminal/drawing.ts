// How terminals are drawn: by the graphics card where there is one.
import { configurationRegistry } from '@codingame/monaco-vscode-configuration-service-override'

/**
 * Asking for a card takes the browser a while, so terminals begin in the page (`configurationDefaults`) and move to the
 * card once it is known to be one: a card that the processor only imitates draws text slower than the page does.
 */
export function drawTerminalsWithCard(): void {
  if (isImitated(graphicsCard())) return
  configurationRegistry.registerDefaultConfigurations([
    { overrides: { 'terminal.integrated.gpuAcceleration': 'auto' } },
  ])
}

function graphicsCard(): string {
  const context = document.createElement('canvas').getContext('webgl2')
  const information = context?.getExtension('WEBGL_debug_renderer_info')
  const name = information ? String(context?.getParameter(information.UNMASKED_RENDERER_WEBGL)) : ''
  context?.getExtension('WEBGL_lose_context')?.loseContext()
  return name
}

const isImitated = (card: string): boolean => card === '' || /swiftshader|llvmpipe|softpipe|basic render/i.test(card)
