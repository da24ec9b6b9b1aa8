// One stream of events a page. Changes are given on as `airlock:change` and `airlock:log` of the document;
// parts of the page marked `data-live-part` are fetched again and changed in place.
import { throttle } from './states.js';

const status = document.getElementById('live');
/** What to press while the page is not live. */
const way = document.getElementById('refresh');
let source = null;
let url = null;
let again = 0;
/** Milliseconds until a stream that was refused is asked for once more. */
const AGAIN = 5000;

function show(state, text) {
  if (!status) return;
  status.hidden = false;
  status.dataset.liveState = state;
  status.textContent = text;
}

function offer(text, href) {
  if (!way) return;
  way.textContent = text;
  way.href = href;
  way.hidden = false;
}

/** Sets a parameter of the stream for its next start. */
export function setParameter(name, value) {
  if (url) url.searchParams.set(name, value);
}

function open() {
  if (source || document.hidden) return;
  source = new EventSource(url);
  source.addEventListener('open', () => {
    show('on', 'live');
    way?.setAttribute('hidden', '');
    // What happened between the page's making and this moment was told to nobody.
    document.dispatchEvent(new CustomEvent('airlock:change', { detail: { runs: {}, again: true } }));
  });
  source.addEventListener('error', () => {
    show('lost', 'not live');
    offer('Refresh', location.pathname + location.search);
    // Of an answer that is no stream (a proxy's, while the server starts; a session's that is over) a browser asks no second time.
    if (source?.readyState !== EventSource.CLOSED) return;
    close();
    again = setTimeout(open, AGAIN);
    lookForSession();
  });
  for (const kind of ['change', 'log']) {
    source.addEventListener(kind, (event) => {
      document.dispatchEvent(new CustomEvent(`airlock:${kind}`, { detail: JSON.parse(event.data) }));
    });
  }
}

/** An EventSource does not tell why it was refused: where that is a session that is over, asking again would not help. */
async function lookForSession() {
  const asking = new AbortController();
  const answer = await fetch(url, { signal: asking.signal }).catch(() => null);
  asking.abort();
  if (answer?.status === 401 && !source) signedOut();
}

/** Leads to the sign-in, and back. Nothing is reloaded: what was typed here can still be copied. */
function signedOut() {
  close();
  show('lost', 'signed out');
  const { pathname, search, hash } = location;
  offer('Sign in', `/login?next=${encodeURIComponent(pathname + search + hash)}`);
}

function close() {
  clearTimeout(again);
  source?.close();
  source = null;
}

export function connect(address) {
  url = new URL(address, location.href);
  document.addEventListener('airlock:change', refresh);
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) {
      close();
      show('off', 'waiting');
    } else {
      open();
    }
  });
  addEventListener('pagehide', close);
  addEventListener('pageshow', open);
  open();
}

const visibleParts = () =>
  [...document.querySelectorAll('[data-live-part]')].filter((part) => part.id && part.getClientRects().length);

const refresh = throttle(async () => {
  if (document.hidden || !visibleParts().length) return;
  const response = await fetch(location.href, { headers: { accept: 'text/html', 'x-airlock-again': 'true' } });
  if (response.redirected && new URL(response.url).pathname === '/login') return signedOut();
  if (!response.ok) return;
  const page = new DOMParser().parseFromString(await response.text(), 'text/html');
  for (const part of visibleParts()) {
    const fresh = page.getElementById(part.id);
    if (fresh) morph(part, fresh);
  }
}, 1000);

/** Makes `old` equal to `fresh`, keeping nodes that stay, so that focus, selection and scrolling do too. */
export function morph(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || old.id !== fresh.id) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  if (old.isEqualNode(fresh) || (old === document.activeElement && old.matches('input, textarea, select'))) return;
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== 'open') old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  const before = byName(old), after = byName(fresh);
  const nodes = [...after].map(([name, node]) => {
    const known = before.get(name);
    if (known) morph(known, node);
    return known ?? node;
  });
  for (const [name, node] of before) if (!after.has(name)) node.remove();
  // What is moved loses the focus: others go around the one that has it.
  const held = childOf(old, document.activeElement) ?? childOf(old, getSelection()?.anchorNode);
  let at = old.firstChild;
  for (const node of nodes) {
    if (node === at || node === held) at = node.nextSibling;
    else old.insertBefore(node, at);
  }
}

// What tells an element from its siblings wherever it stands: the first of these that it has.
const NAMES = ['id', 'data-key', 'data-run', 'data-dag', 'data-task', 'data-backfill', 'data-action', 'name', 'action'];

/** The children of `parent` by their names, in order; of those that are called the same, each by its turn. */
function byName(parent) {
  const turns = new Map();
  return new Map([...parent.childNodes].map((node) => {
    const attribute = NAMES.find((name) => node.hasAttribute?.(name));
    const name = attribute ? `${node.nodeName} ${attribute} ${node.getAttribute(attribute)}` : node.nodeName;
    const turn = turns.get(name) ?? 0;
    turns.set(name, turn + 1);
    return [`${turn} ${name}`, node];
  }));
}

/** The child of `parent` that `node` is or is in. */
function childOf(parent, node) {
  while (node && node.parentNode !== parent) node = node.parentNode;
  return node;
}
