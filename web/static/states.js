// States as letters (model::state::TaskState::letter), their names, icons and colours.

export const STATES = {
  '.': 'none', c: 'scheduled', q: 'queued', r: 'running', s: 'success', a: 'restarting', f: 'failed',
  k: 'skipped', u: 'upstream_failed', t: 'up_for_retry', d: 'up_for_reschedule', x: 'removed',
};

// The order in which mixed states are drawn and told: what needs a look first.
export const ORDER = 'futradqc.skx';

export const name = (letter) => STATES[letter] ?? 'none';
export const words = (letter) => name(letter).replaceAll('_', ' ');

/** The path of a state's icon, as the page's symbols have it. */
export const iconPath = (letter) => document.querySelector(`#i-${name(letter)} path`)?.getAttribute('d') ?? '';

/** The value of a CSS colour variable, resolved for the theme that is on. */
export function colour(variable) {
  const probe = document.createElement('i');
  probe.hidden = true;
  // The system's own palette is meant for texts: what is drawn keeps its colours.
  probe.style.forcedColorAdjust = 'none';
  probe.style.color = `var(${variable})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

/** `text` cut so that it is at most `width` wide. */
export function fit(pen, text, width) {
  if (pen.measureText(text).width <= width) return text;
  let low = 0, high = text.length;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (pen.measureText(`${text.slice(0, middle)}…`).width <= width) low = middle; else high = middle - 1;
  }
  return `${text.slice(0, low)}…`;
}

/** Calls `change` when the colours do: the system's theme, its own palette or the page's switch. */
export function onTheme(change) {
  for (const query of ['(prefers-color-scheme: dark)', '(forced-colors: active)']) matchMedia(query).addEventListener('change', change);
  new MutationObserver(change).observe(document.documentElement, { attributeFilter: ['data-theme'] });
}

/** Counts of each letter in `letters`, in the order of ORDER, as [letter, count]. */
export function count(letters) {
  const counts = {};
  for (const letter of letters) counts[letter] = (counts[letter] ?? 0) + 1;
  return [...ORDER].filter((letter) => counts[letter]).map((letter) => [letter, counts[letter]]);
}

export async function getJson(url) {
  const response = await fetch(url, { headers: { accept: 'application/json' } });
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  return response.json();
}

/** Fetches JSON and tells whether that is going on: what changes meanwhile may be missing in what comes. */
export function fetcher() {
  let open = 0;
  return {
    isBusy: () => open > 0,
    async get(url) {
      open++;
      try { return await getJson(url); } finally { open--; }
    },
  };
}

/** Runs `work` now or soon, at most once per `wait` ms and never twice at a time; a slow `work` waits longer. */
export function throttle(work, wait) {
  let timer = 0, last = 0, busy = false, again = false;
  const run = async () => {
    timer = 0;
    if (busy) { again = true; return; }
    busy = true;
    const start = performance.now();
    try { await work(); } catch (error) { console.warn(error); }
    last = performance.now();
    busy = false;
    pause = Math.max(wait, 4 * (last - start));
    if (again) { again = false; call(); }
  };
  let pause = wait;
  const call = () => {
    if (timer || again) return;
    timer = setTimeout(run, Math.max(0, last + pause - performance.now()));
  };
  return call;
}

/** Microseconds for people, as the server tells them (`Span`). */
export function span(us) {
  const seconds = Math.floor(us / 1e6);
  if (us < 1e3) return `${Math.floor(us)} µs`;
  if (seconds < 1) return `${Math.floor(us / 1e3)} ms`;
  if (seconds < 60) return `${(us / 1e6).toFixed(1)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${seconds % 60} s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} m`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}
