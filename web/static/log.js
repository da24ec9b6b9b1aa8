// The log of an attempt: lines arrive by the page's stream and are appended as text.
import { setParameter } from './live.js';

const MOST_LINES = 5000;

export function start(box) {
  const lines = document.getElementById('log-lines');
  // A try that begins while its log is waited for has a log of its own.
  const state = document.getElementById('task-state');
  if (state && !new URLSearchParams(location.search).has('try')) {
    new MutationObserver(() => {
      if (Number(state.dataset.try) > Number(box.dataset.try)) location.reload();
    }).observe(state, { attributeFilter: ['data-try'] });
  }
  // The way to a line leads to its try and to where it stands, however many lines and tries come after it.
  const here = new URL(location.href);
  box.addEventListener('click', (event) => {
    if (box.dataset.around !== undefined || !event.target.closest('.at')) return;
    here.searchParams.set('try', box.dataset.try);
    history.replaceState(history.state, '', here);
  });
  const wanted = Number(/^#L(\d+)$/.exec(here.hash)?.[1] ?? NaN);
  if (wanted < Number(box.dataset.next) && !document.getElementById(`L${wanted}`) && !here.searchParams.has('before')) {
    here.searchParams.set('before', wanted + Number(box.dataset.linesAfter));
    location.replace(here);
    return;
  }
  const follow = document.getElementById('log-follow');
  const atEnd = () => box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  const toEnd = () => { box.scrollTop = box.scrollHeight; };
  if (!location.hash) toEnd();
  if (box.dataset.follow === undefined) return;
  document.getElementById('log-follow-box').hidden = false;
  box.addEventListener('scroll', () => { follow.checked = atEnd(); }, { passive: true });
  follow.addEventListener('change', () => follow.checked && toEnd());

  document.addEventListener('airlock:log', ({ detail }) => {
    setParameter('after', detail.next);
    const known = Number(box.dataset.next);
    const fresh = detail.lines.filter((line) => line.number >= known);
    box.dataset.next = detail.next;
    if (!fresh.length) return;
    document.getElementById('log-empty')?.remove();
    lines.append(...fresh.map((line) => draw(line, box)));
    while (lines.childElementCount > MOST_LINES) lines.firstElementChild.remove();
    const counted = document.getElementById('log-count');
    if (counted) counted.textContent = `${lines.childElementCount} lines shown`;
    if (follow.checked) toEnd();
  });
}

function draw(line, box) {
  const item = document.createElement('li');
  item.id = `L${line.number}`;
  item.className = line.class;
  const at = document.createElement('a');
  at.className = 'at';
  const { around, linesAfter } = box.dataset;
  if (around === undefined) at.tabIndex = -1;
  at.href = `${around === undefined ? '' : around + (line.number + Number(linesAfter))}#L${line.number}`;
  at.title = line.at_full;
  at.textContent = line.at;
  const level = document.createElement('span');
  level.className = 'level';
  level.textContent = line.level;
  const text = document.createElement('span');
  text.className = 'text';
  const part = (className, content) => {
    const span = document.createElement('span');
    span.className = className;
    span.textContent = content;
    return span;
  };
  if (line.target) text.append(part('from', `${line.target}: `));
  for (const [content, classes, hit] of line.parts) {
    if (!hit) { text.append(classes ? part(classes, content) : content); continue; }
    const mark = document.createElement('mark');
    mark.className = classes;
    mark.textContent = content;
    text.append(mark);
  }
  if (line.fields) text.append(' ', part('fields', line.fields));
  item.append(at, level, text);
  return item;
}
