declare module 'node-gyp-build' {
  const build: { path(root: string): string }
  export default build
}
