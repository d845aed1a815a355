// Keeping a page up to date: it asks again and again while somebody looks.

const visible = () => document.visibilityState === 'visible';

function pause(ms, signal) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', shown);
      signal.removeEventListener('abort', done);
      resolve();
    };
    // A page that was hidden catches up the moment that it is looked at again.
    const shown = () => visible() && done();
    const timer = setTimeout(() => { if (visible()) done(); }, ms);
    document.addEventListener('visibilitychange', shown);
    signal.addEventListener('abort', done);
  });
}

// poll calls work at once and then every ms until signal aborts. What work throws
// is told to the page as an event and does not end it. The function that it
// returns makes it work at once.
export function poll(signal, ms, work) {
  let hurry = new AbortController();
  const again = () => hurry.abort();
  (async () => {
    while (!signal.aborted) {
      try {
        await work();
        if (!signal.aborted) dispatchEvent(new CustomEvent('reached'));
      } catch (error) {
        if (signal.aborted) return;
        dispatchEvent(new CustomEvent('unreached', { detail: error }));
      }
      hurry = new AbortController();
      await pause(ms, AbortSignal.any([signal, hurry.signal]));
    }
  })();
  return again;
}
