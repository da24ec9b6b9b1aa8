// The one script of every page: starts what the page needs. Without it, each page still reads and each action works.
import './form.js';
import './keys.js';
import { connect } from './live.js';

const starts = { grid: './grid.js', graph: './graph.js', log: './log.js' };
for (const [id, module] of Object.entries(starts)) {
  const element = document.getElementById(id);
  if (element) import(module).then(({ start }) => start(element));
}
if (document.body.dataset.events) connect(document.body.dataset.events);
