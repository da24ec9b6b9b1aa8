// The one script of every page: starts what the page needs. Without it, each page still reads and each action works.
import './form.js';
import './keys.js';
import { connect } from './live.js';

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
