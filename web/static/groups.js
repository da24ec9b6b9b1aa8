// Which task groups of a dag are open: the same in the graph and in the grid, remembered by this browser.

/** `address` is that of the dag or of something below it. */
export function groupsOf(address) {
  const key = `airlock.groups.${address.split('/')[2]}`;
  // `base`: '' (as the server thinks best), 'open' or 'closed'; `but`: ids of those that are the other way.
  let state = { base: '', but: [] };
  const read = () => {
    try {
      const known = JSON.parse(localStorage.getItem(key) ?? '{}');
      state = { base: ['open', 'closed'].includes(known.base) ? known.base : '', but: Array.isArray(known.but) ? known.but : [] };
    } catch { /* What can't be read is not remembered. */ }
  };
  const write = () => {
    try {
      if (state.base || state.but.length) localStorage.setItem(key, JSON.stringify(state)); else localStorage.removeItem(key);
    } catch { /* Nor what can't be written. */ }
  };
  read();
  return {
    /** `path` with what the server must know. */
    ask(path) {
      const url = new URL(path, location.href);
      if (state.base) url.searchParams.set('groups', state.base);
      if (state.but.length) url.searchParams.set('but', state.but.join(','));
      return url.pathname + url.search;
    },
    /** `closed`: whether it is closed unless the user said otherwise. */
    isClosed: ({ id, closed }) => (state.base ? state.base === 'closed' : closed) !== state.but.includes(id),
    toggle(id) {
      read();
      state.but = state.but.includes(id) ? state.but.filter((other) => other !== id) : [...state.but, id];
      write();
    },
    all(base) {
      state = { base, but: [] };
      write();
    },
  };
}
