// What is used here of a library that the editor's packages bring without types.
declare module '@codingame/monaco-vscode-textmate-service-override/_virtual/main2' {
  const oniguruma: { loadWASM(options: { data: Response }): Promise<void> }
  export default oniguruma
}
