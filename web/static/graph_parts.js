// What a graph is made of, as SVG: tasks, groups, edges and their labels.
import { fit, name, words } from './states.js';

const SVG = 'http://www.w3.org/2000/svg';
// Where each task is shown, those that are alike are a block of squares. The server has made it as wide and high.
export const SQUARE = 10, SIDE = 6, TOP = 24;
const CHEVRON = { open: 'M0 3l4 4l4-4', closed: 'M2.5 1l4 4l-4 4' };
const ROLE = { setup: 'M1 8l7-7M3 1h5v5', teardown: 'M1 1l7 7M8 3v5h-5' };

export const make = (tag, attributes = {}, ...children) => {
  const element = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
};

const cut = (text, limit) => (text.length > limit ? `${text.slice(0, limit - 1)}…` : text);

/** The boxes, edges, groups and labels of what the server has sent. */
export function parts(graph) {
  const closed = new Map(graph.groups.filter((group) => group.box !== null).map((group) => [group.box, group]));
  const [setups, teardowns, mapped] = [graph.setups, graph.teardowns, graph.mapped].map((rows) => new Set(rows));
  const boxes = graph.boxes.map(([x, y, width, height, ...members], index) => {
    const [row] = members;
    const group = closed.get(index), single = !group && members.length === 1;
    const around = graph.groups[graph.group_of[row] ?? -1];
    const id = group ? group.id : graph.tasks[row];
    return {
      index, x, y, width, height, members, group, id, states: [], counts: [], letter: '.',
      label: group ? group.name : around && id.startsWith(`${around.id}.`) ? id.slice(around.id.length + 1) : id,
      isMapped: single && mapped.has(row),
      role: single && setups.has(row) ? 'setup' : single && teardowns.has(row) ? 'teardown' : '',
      columns: !group && members.length > 1 && height > 54 ? Math.floor((width - 2 * SIDE) / SQUARE) : 0,
    };
  });
  const edges = graph.edges.map(([from, to, ...flat]) => {
    const a = boxes[from], b = boxes[to];
    const points = [];
    for (let at = 0; at < flat.length; at += 2) points.push([flat[at], flat[at + 1]]);
    const ends = points.length ? points : [[a.x + a.width, a.y + a.height / 2], [b.x, b.y + b.height / 2]];
    const xs = ends.map(([x]) => x), ys = ends.map(([, y]) => y);
    return {
      from, to, stub: !points.length || ends[0][0] > ends.at(-1)[0], points: ends,
      minX: Math.min(...xs), maxX: Math.max(...xs), minY: Math.min(...ys), maxY: Math.max(...ys),
    };
  });
  const frames = graph.groups.filter((group) => group.at).map((group) => {
    const [x, y, width, height] = group.at;
    return { group, id: group.id, x, y, width, height };
  });
  const labels = graph.labels.map(([x, y, width, height, text]) => ({ x, y, width, height, text }));
  return { boxes, edges, frames, labels };
}

/** The SVG of an edge's way. */
export function way({ points, stub }) {
  if (stub) {
    const [ax, ay] = points[0], [bx, by] = points.at(-1);
    return `M${ax} ${ay}h16M${bx - 16} ${by}h16`;
  }
  let text = `M${points[0][0]} ${points[0][1]}`;
  for (let at = 1; at < points.length; at++) {
    const [ax, ay] = points[at - 1], [bx, by] = points[at], middle = (ax + bx) / 2;
    text += at % 2 ? `C${middle} ${ay} ${middle} ${by} ${bx} ${by}` : `L${bx} ${by}`;
  }
  return text;
}

export function label({ x, y, width, height, text }) {
  const words = make('text', { x: x + width / 2, y: y + height / 2 + 3.6 });
  words.textContent = text;
  return make('g', { class: 'label' }, make('rect', { x, y, width, height, rx: 9 }), words);
}

const button = (group, open) => ({ role: 'button', tabindex: 0, 'aria-expanded': open, 'data-group': group.id });

/** An open group: what is in it is drawn above. */
export function frame({ group, x, y, width, height }) {
  const title = make('title');
  title.textContent = [group.id, group.doc, 'Click to close.'].filter(Boolean).join('\n');
  const text = make('text', { x: x + 30, y: y + 19 });
  const head = make('g', { class: 'head', ...button(group, true) },
    title,
    make('rect', { x: x + 4, y: y + 4, width: width - 8, height: 24, rx: 5 }),
    make('path', { class: 'chevron', d: CHEVRON.open, transform: `translate(${x + 14} ${y + 10.5})` }),
    text);
  text.textContent = group.name;
  return make('g', { class: 'group' }, make('rect', { class: 'frame', x: x + 0.5, y: y + 0.5, width: width - 1, height: height - 1, rx: 8 }), head);
}

// The server gives a box the width that its name has in most fonts. In a wider one it is drawn closer before it is cut.
const CLOSER = 1.2;
let pen = null;
function named(label, room) {
  if (!pen) {
    pen = document.createElement('canvas').getContext('2d');
    pen.font = `550 12px ${getComputedStyle(document.body).fontFamily}`;
  }
  const text = make('tspan');
  text.textContent = fit(pen, label, room * CLOSER);
  if (pen.measureText(text.textContent).width > room) {
    text.setAttribute('textLength', room);
    text.setAttribute('lengthAdjust', 'spacingAndGlyphs');
  }
  return text;
}

/** A box without its states: see `colourNode`. `href` is where a task's box leads. */
export function node(item, href) {
  const many = item.members.length > 1;
  const { x, y, width, height } = item;
  const about = item.group ? button(item.group, false) : { href, 'data-task': item.id };
  const middle = y + height / 2;
  const head = item.columns ? y + 13 : item.group ? y + 16 : many ? y + 16 : item.isMapped ? middle - 3 : middle;
  const link = make(item.group ? 'g' : 'a', { class: 'node', ...about },
    make('title'),
    make('rect', { class: 'box', x: x + 0.5, y: y + 0.5, width: width - 1, height: height - 1, rx: 6 }));
  if (item.group) {
    link.append(make('rect', { class: 'behind', x: x + 3.5, y: y + 3.5, width: width - 7, height: height - 7, rx: 4 }),
      make('path', { class: 'chevron', d: CHEVRON.closed, transform: `translate(${x + width - 18} ${head - 5})` }));
  }
  link.append(make('use', { x: x + 9, y: head - 7, width: 14, height: 14 }));
  const room = width - 38 - (item.group ? 16 : 0) - (item.role ? 18 : 0) - (item.isMapped ? 50 : 0);
  const text = make('text', { x: x + 29, y: head + 4.2 });
  text.append(named(item.label, room));
  link.append(text);
  if (item.columns) text.append(` × ${item.members.length.toLocaleString('en')}`);
  if (item.isMapped || item.group?.is_mapped) text.append(make('tspan', { class: 'times', dx: 4 }));
  if (item.role) link.append(make('path', { class: 'role', d: ROLE[item.role], transform: `translate(${x + width - 18} ${middle - 4.5})` }));
  if (item.group || (many && !item.columns)) link.append(make('text', { class: 'under', x: x + 29, y: head + 19 }));
  if (many || item.group || item.isMapped) link.append(make('g', { class: 'bar' }));
  return link;
}

/** Shows the states of a box. `known` is false before any is. */
export function colourNode(item, link, known) {
  const { counts, members } = item;
  const many = members.length > 1;
  const total = counts.reduce((sum, [, number]) => sum + number, 0);
  const kind = item.columns ? ' block' : item.group ? ' closed' : item.isMapped ? ' mapped' : '';
  link.setAttribute('class', `node s-${name(item.letter)}${kind}`);
  link.querySelector('use').setAttribute('href', known ? `#i-${name(item.letter)}` : '#i-none');
  const telling = known ? counts.map(([state, number]) => `${number.toLocaleString('en')} ${words(state)}`).join(', ') : '';
  const role = item.role && `, ${item.role}`;
  const tasks = `${members.length.toLocaleString('en')} ${many ? 'tasks' : 'task'}`;
  let lines = [item.id + role, known && words(item.letter)];
  if (item.group) lines = [item.id, item.group.doc, telling ? `${tasks}: ${telling}` : tasks, 'Click to open.'];
  else if (many) lines = [`${item.id} and ${members.length - 1} like it`, telling];
  else if (item.isMapped) lines = [item.id + role, item.times === undefined ? 'mapped, its list is not known yet' : `${item.times.toLocaleString('en')} instances`, item.times ? telling : ''];
  const title = lines.filter(Boolean).join('\n');
  link.querySelector('title').textContent = item.columns ? '' : title;
  if (item.columns) link.setAttribute('aria-label', title.replaceAll('\n', ', '));
  const times = link.querySelector('.times');
  if (times) times.textContent = `[${item.times?.toLocaleString('en') ?? ' '}]`;
  const under = link.querySelector('.under');
  if (under && item.group) under.textContent = known && total ? summary(counts, item.width) : tasks;
  else if (under) under.textContent = `× ${members.length.toLocaleString('en')}`;
  const bar = link.querySelector('.bar');
  if (!bar) return;
  if (item.columns) {
    const squares = {};
    const state = item.states.length ? item.states : '.'.repeat(members.length);
    for (let at = 0; at < members.length; at++) {
      const x = item.x + SIDE + (at % item.columns) * SQUARE, y = item.y + TOP + Math.floor(at / item.columns) * SQUARE;
      squares[state[at]] = `${squares[state[at]] ?? ''}M${x} ${y}h8v8h-8z`;
    }
    bar.replaceChildren(...Object.entries(squares).map(([letter, d]) => make('path', { class: `square s-${name(letter)}`, d })));
    return;
  }
  let x = item.x + 5;
  bar.replaceChildren(...(known && total ? counts : []).map(([state, number]) => {
    const width = ((item.width - 10) * number) / total;
    const part = make('rect', { class: `side s-${name(state)}`, x, y: item.y + item.height - 9, width, height: 4 });
    x += width;
    return part;
  }));
}

/** The counts of a closed group, as many as fit. */
function summary(counts, width) {
  let text = '';
  for (const [at, [state, number]] of counts.entries()) {
    const next = `${text}${text && ' · '}${number.toLocaleString('en')} ${words(state)}`;
    if (next.length * 5.4 > width - 40) return text ? `${text} · +${counts.length - at}` : cut(next, 24);
    text = next;
  }
  return text;
}
