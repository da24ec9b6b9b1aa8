// The one script of every page: starts what the page needs. Without it, each page still reads and each action works.
import './form.js';
import './keys.js';
import { connect } from './live.js';
import { span } from './states.js';

const starts = { grid: './grid.js', graph: './graph.js', log: './log.js' };
for (const [id, module] of Object.entries(starts)) {
  const element = document.getElementById(id);
  if (element) import(module).then(({ start }) => start(element));
}
// Where the tabs don't fit, the one that is open is still seen.
const tabs = document.querySelector('.tabs');
const tab = tabs?.querySelector('[aria-current]');
if (tab) tabs.scrollLeft = tab.offsetLeft + tab.offsetWidth / 2 - tabs.clientWidth / 2;

if (document.body.dataset.events) connect(document.body.dataset.events);

// A menu closes when something else is looked at, and with Escape.
const close = (but) => {
  for (const menu of document.querySelectorAll('details.menu[open]')) if (!menu.contains(but)) menu.open = false;
};
addEventListener('click', (event) => close(event.target));
addEventListener('keydown', (event) => { if (event.key === 'Escape') close(null); });

// What waits counts down, and what goes on counts up from what the server said last.
const lasting = new WeakMap();
setInterval(() => {
  for (const element of document.querySelectorAll('[data-lasted]')) {
    const { lasted } = element.dataset;
    if (lasting.get(element)?.lasted !== lasted) lasting.set(element, { lasted, at: performance.now() });
    element.textContent = span((Number(lasted) + performance.now() - lasting.get(element).at) * 1000);
  }
  for (const element of document.querySelectorAll('[data-until]')) {
    const left = Math.ceil((Date.parse(element.dataset.until) - Date.now()) / 1000);
    const [d, h, m, s] = [Math.floor(left / 86400), Math.floor(left / 3600) % 24, Math.floor(left / 60) % 60, left % 60];
    element.textContent = left <= 0 ? 'now' : `in ${d ? `${d} d ${h} h` : h ? `${h} h ${m} m` : m ? `${m} m ${s} s` : `${s} s`}`;
  }
}, 1000);
