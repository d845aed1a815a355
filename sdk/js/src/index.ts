export { Brook, Brook as Package, Brook as default } from './client.js';
export type { Wire } from './client.js';
export { Channel } from './channel.js';
export { BrookError } from './error.js';
export type * from './types.js';
