// What somebody has typed and not saved. Leaving it asks first.
import { confirm } from './parts.js';

const editors = new Set();

// track names an editor until signal aborts. dirty tells whether it holds what is not saved.
export function track(name, dirty, signal) {
  const editor = { name, dirty };
  editors.add(editor);
  signal.addEventListener('abort', () => editors.delete(editor));
}

export const unsaved = () => [...editors].filter((e) => e.dirty()).map((e) => e.name);

// mayLeave asks where something is not saved, and lets go of it when that is the answer.
export async function mayLeave() {
  const names = unsaved();
  if (names.length > 0) {
    const leave = await confirm('Leave without saving?', { text: `Not saved yet: ${names.join(', ')}.`, action: 'Leave without saving', work: async () => {} });
    if (!leave) return false;
  }
  editors.clear();
  return true;
}

addEventListener('beforeunload', (event) => {
  if (unsaved().length > 0) event.preventDefault();
});
