/// <reference types="node" />

// The public types, a file per topic. Each doc comment is short; `@see` names the page that has the details.

export * from './types/options.js'
export * from './types/volumes.js'
export * from './types/store.js'
export * from './types/files.js'
export * from './types/streams.js'
export * from './types/copies.js'
export * from './types/mounts.js'
export * from './types/attachments.js'
export * from './types/runtimes.js'
export * from './types/errors.js'
