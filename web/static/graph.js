// The graph of tasks. The server has placed everything; here only what is in view is drawn: as SVG with real links
// while that is at most 600 boxes, on a canvas beyond.
import { tip as makeTip } from './tip.js';
import { colour, count, fetcher, getJson, name, onTheme, STATES, throttle, words } from './states.js';

const SVG = 'http://www.w3.org/2000/svg';
const MOST_LINKS = 600;
// Where each task is shown, those that are alike are a block of squares. The server has made it as wide and high.
const SQUARE = 10, SIDE = 6, TOP = 24;
// Below this nothing can be read.
const LEAST_READABLE = 0.8, LEAST_SEEN = 0.5;

const make = (tag, attributes = {}, ...children) => {
  const element = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
};

export async function start(box) {
  const graph = await getJson(box.dataset.graph);
  if (!graph.boxes) return;
  box.hidden = false;
  document.getElementById('outline')?.removeAttribute('open');

  let cells = '';
  let zoom = 1, left = 0, top = 0, frame = 0, fitted = true;
  const boxes = graph.boxes.map(([x, y, width, height, ...members], index) => ({
    index, x, y, width, height, members, states: [], letter: '.',
    columns: members.length > 1 && height > 50 ? Math.floor((width - 2 * SIDE) / SQUARE) : 0,
  }));
  const edges = graph.edges.map(([from, to, ...flat]) => {
    const a = boxes[from], b = boxes[to];
    const points = [];
    for (let at = 0; at < flat.length; at += 2) points.push([flat[at], flat[at + 1]]);
    const ends = points.length ? points : [[a.x + a.width, a.y + a.height / 2], [b.x, b.y + b.height / 2]];
    const ys = ends.map(([, y]) => y);
    return { from, to, stub: !points.length, points: ends, minX: ends[0][0], maxX: ends.at(-1)[0], minY: Math.min(...ys), maxY: Math.max(...ys) };
  });

  const view = make('svg', { class: 'view' });
  const edgeLayer = make('g');
  const nodeLayer = make('g');
  view.append(edgeLayer, nodeLayer);
  const canvas = document.createElement('canvas');
  canvas.setAttribute('aria-hidden', 'true');
  canvas.hidden = true;
  const tools = document.createElement('div');
  tools.className = 'tools';
  for (const [text, label, act] of [['−', 'Zoom out', () => scale(1 / 1.3)], ['+', 'Zoom in', () => scale(1.3)], ['Fit', 'Fit the graph', () => fit()]]) {
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'small';
    button.textContent = text;
    button.setAttribute('aria-label', label);
    button.addEventListener('click', act);
    tools.append(button);
  }
  box.append(canvas, view, tools);

  const drawn = new Map();
  const drawnEdges = new Map();
  const href = (task) => `${box.dataset.base}/tasks/${encodeURIComponent(task)}`;

  function node(item) {
    const title = graph.tasks[item.members[0]];
    const many = item.members.length > 1;
    const limit = Math.floor((item.width - 38) / 6.9);
    const text = title.length > limit ? `${title.slice(0, limit - 1)}…` : title;
    const link = make('a', { class: 'node', href: many ? box.dataset.unfold ?? href(title) : href(title), 'data-task': title },
      make('title'),
      make('rect', { class: 'box', x: item.x + 0.5, y: item.y + 0.5, width: item.width - 1, height: item.height - 1, rx: 6 }),
      make('use', { x: item.x + 9, y: item.y + (item.columns ? 6 : many ? 9 : item.height / 2 - 7), width: 14, height: 14 }));
    const label = make('text', { x: item.x + 29, y: item.y + (item.columns ? 18 : many ? 20 : item.height / 2 + 4.2) });
    label.textContent = item.columns ? `${text} × ${item.members.length.toLocaleString('en')}` : text;
    link.append(label);
    if (item.columns) {
      link.classList.add('block');
      link.append(make('g'));
    } else if (many) {
      const under = make('text', { class: 'under', x: item.x + 29, y: item.y + 35 });
      link.append(under, make('g'));
    }
    return link;
  }

  function colourNode(item, link) {
    const letters = item.states;
    const many = item.members.length > 1;
    const counts = count(letters);
    const letter = counts[0]?.[0] ?? '.';
    const main = item.letter;
    link.setAttribute('class', `node s-${name(main)}${item.columns ? ' block' : ''}`);
    link.querySelector('use').setAttribute('href', cells ? `#i-${name(main)}` : '#i-none');
    const telling = counts.map(([state, number]) => `${number} ${words(state)}`).join(', ');
    const first = graph.tasks[item.members[0]];
    link.querySelector('title').textContent = many ? `${first} and ${item.members.length - 1} like it${cells ? `\n${telling}` : ''}` : cells ? `${first}\n${words(letter)}` : first;
    if (item.columns) {
      link.querySelector('title').textContent = '';
      link.setAttribute('aria-label', `${first} and ${item.members.length - 1} like it${cells ? `, ${telling}` : ''}`);
      const squares = {};
      const state = letters.length ? letters : '.'.repeat(item.members.length);
      for (let at = 0; at < item.members.length; at++) {
        const x = item.x + SIDE + (at % item.columns) * SQUARE, y = item.y + TOP + Math.floor(at / item.columns) * SQUARE;
        squares[state[at]] = `${squares[state[at]] ?? ''}M${x} ${y}h8v8h-8z`;
      }
      link.querySelector('g').replaceChildren(...Object.entries(squares).map(([letter, d]) => make('path', { class: `square s-${name(letter)}`, d })));
    } else if (many) {
      link.querySelector('.under').textContent = `× ${item.members.length.toLocaleString('en')}`;
      const bar = link.querySelector('g');
      let x = item.x + 1;
      bar.replaceChildren(...(cells ? counts : []).map(([state, number]) => {
        const width = ((item.width - 2) * number) / letters.length;
        const part = make('rect', { class: `side s-${name(state)}`, x, y: item.y + item.height - 6, width, height: 5 });
        x += width;
        return part;
      }));
    }
  }

  function path({ points, stub }) {
    if (stub) {
      const [[ax, ay], [bx, by]] = points;
      return `M${ax} ${ay}h16M${bx - 16} ${by}h16`;
    }
    let text = `M${points[0][0]} ${points[0][1]}`;
    for (let at = 1; at < points.length; at++) {
      const [ax, ay] = points[at - 1], [bx, by] = points[at], middle = (ax + bx) / 2;
      text += at % 2 ? `C${middle} ${ay} ${middle} ${by} ${bx} ${by}` : `L${bx} ${by}`;
    }
    return text;
  }

  function inView() {
    const width = box.clientWidth / zoom, height = box.clientHeight / zoom;
    const near = { left: left - 80, top: top - 80, right: left + width + 80, bottom: top + height + 80 };
    return {
      boxes: boxes.filter((item) => item.x < near.right && item.x + item.width > near.left && item.y < near.bottom && item.y + item.height > near.top),
      edges: edges.filter((edge) => edge.minX < near.right && edge.maxX > near.left && edge.minY < near.bottom && edge.maxY > near.top),
    };
  }

  function sync(layer, map, items, key, build) {
    const wanted = new Set(items.map(key));
    for (const [id, element] of map) if (!wanted.has(id)) { element.remove(); map.delete(id); }
    for (const item of items) {
      if (map.has(key(item))) continue;
      const element = build(item);
      map.set(key(item), element);
      layer.append(element);
    }
  }

  function draw() {
    frame = 0;
    const seen = inView();
    const asLinks = seen.boxes.length <= MOST_LINKS;
    view.toggleAttribute('hidden', !asLinks);
    canvas.hidden = asLinks;
    box.dataset.drawn = asLinks ? 'svg' : 'canvas';
    if (!asLinks) return drawCanvas(seen);
    view.setAttribute('viewBox', `${left} ${top} ${box.clientWidth / zoom} ${box.clientHeight / zoom}`);
    edgeLayer.classList.toggle('many', seen.edges.length > 150);
    sync(edgeLayer, drawnEdges, seen.edges, (edge) => edge, (edge) => make('path', { class: edge.stub ? 'edge stub' : 'edge', d: path(edge) }));
    sync(nodeLayer, drawn, seen.boxes, (item) => item.index, (item) => {
      const link = node(item);
      colourNode(item, link);
      return link;
    });
  }

  let colours = {};
  const paint = () => {
    colours = Object.fromEntries(Object.entries(STATES).map(([letter, state]) => [letter, colour(`--${state}`)]));
    colours.line = colour('--line-strong');
    colours.text = colour('--text');
  };

  function drawCanvas(seen) {
    const ratio = devicePixelRatio;
    canvas.width = box.clientWidth * ratio;
    canvas.height = box.clientHeight * ratio;
    const pen = canvas.getContext('2d');
    pen.setTransform(ratio * zoom, 0, 0, ratio * zoom, -left * zoom * ratio, -top * zoom * ratio);
    pen.strokeStyle = colours.line;
    pen.lineWidth = 1 / zoom;
    const lines = new Path2D();
    for (const edge of seen.edges) if (!edge.stub) lines.addPath(edge.drawn ??= new Path2D(path(edge)));
    pen.stroke(lines);
    for (const item of seen.boxes) {
      pen.fillStyle = colours[item.letter];
      pen.fillRect(item.x, item.y, item.width, item.height);
    }
  }
  const redraw = () => (frame ||= requestAnimationFrame(draw));

  const least = boxes.some((item) => item.columns) ? LEAST_SEEN : LEAST_READABLE;
  const bounds = () => [Math.min(1, 0.9 * box.clientWidth / graph.width, 0.9 * box.clientHeight / graph.height), 2.5];
  function scale(factor, px = box.clientWidth / 2, py = box.clientHeight / 2) {
    const [least, most] = bounds();
    const next = Math.min(most, Math.max(Math.min(least, zoom), zoom * factor));
    left += px / zoom - px / next;
    top += py / zoom - py / next;
    zoom = next;
    fitted = false;
    redraw();
  }
  function fit() {
    const tall = box.classList.contains('tall');
    const wanted = graph.height * Math.min(1, Math.max(least, box.clientWidth / graph.width)) + 40;
    box.style.height = `${Math.max(tall ? 320 : 150, Math.min(wanted, innerHeight * (tall ? 0.7 : 0.46)))}px`;
    // A graph too wide to read is shown from its start instead of whole.
    const whole = Math.min(box.clientWidth / graph.width, box.clientHeight / graph.height);
    zoom = Math.min(1, fitted ? Math.max(whole, least) : whole);
    fitted = true;
    const wide = box.clientWidth / zoom, high = box.clientHeight / zoom;
    left = wide > graph.width ? (graph.width - wide) / 2 : 0;
    top = (graph.height - high) / 2;
    redraw();
  }

  let drag = null, moved = false;
  view.addEventListener('pointerdown', begin);
  canvas.addEventListener('pointerdown', begin);
  function begin(event) {
    if (event.button !== 0) return;
    drag = { x: event.clientX, y: event.clientY, left, top };
    moved = false;
  }
  addEventListener('pointermove', (event) => {
    if (!drag) return;
    if (!moved && Math.hypot(event.clientX - drag.x, event.clientY - drag.y) < 4) return;
    moved = true;
    fitted = false;
    box.classList.add('moving');
    left = drag.left - (event.clientX - drag.x) / zoom;
    top = drag.top - (event.clientY - drag.y) / zoom;
    redraw();
  });
  for (const end of ['pointerup', 'pointercancel']) {
    addEventListener(end, () => { drag = null; box.classList.remove('moving'); });
  }
  view.addEventListener('click', (event) => { if (moved) event.preventDefault(); }, true);
  // The task of a block's square under the pointer.
  function squareAt(event) {
    const link = event.target.closest?.('.node.block');
    if (!link) return undefined;
    const item = boxes[[...drawn].find(([, other]) => other === link)?.[0]];
    const rect = box.getBoundingClientRect();
    const x = left + (event.clientX - rect.left) / zoom - item.x - SIDE, y = top + (event.clientY - rect.top) / zoom - item.y - TOP;
    const column = Math.floor(x / SQUARE);
    if (x < 0 || y < 0 || column >= item.columns) return undefined;
    const at = Math.floor(y / SQUARE) * item.columns + column;
    return at < item.members.length ? { task: graph.tasks[item.members[at]], letter: item.states[at] } : undefined;
  }
  const tip = makeTip();
  view.addEventListener('pointermove', (event) => {
    const found = drag ? undefined : squareAt(event);
    if (found) tip.show(cells ? `${found.task}\n${words(found.letter)}` : found.task, event); else tip.hide();
  });
  view.addEventListener('pointerleave', () => tip.hide());
  view.addEventListener('click', (event) => {
    const found = !moved && event.detail > 0 && squareAt(event);
    if (found) { event.preventDefault(); location.assign(href(found.task)); }
  });
  view.addEventListener('dragstart', (event) => event.preventDefault());
  canvas.addEventListener('click', (event) => {
    if (moved) return;
    const rect = box.getBoundingClientRect();
    const x = left + (event.clientX - rect.left) / zoom, y = top + (event.clientY - rect.top) / zoom;
    const hit = boxes.find((item) => x >= item.x && x <= item.x + item.width && y >= item.y && y <= item.y + item.height);
    if (hit) location.assign(href(graph.tasks[hit.members[0]]));
  });
  box.addEventListener('wheel', (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const rect = box.getBoundingClientRect();
    scale(Math.exp(-event.deltaY / 300), event.clientX - rect.left, event.clientY - rect.top);
  }, { passive: false });
  box.addEventListener('keydown', (event) => {
    const step = { ArrowLeft: [-60, 0], ArrowRight: [60, 0], ArrowUp: [0, -60], ArrowDown: [0, 60] }[event.key];
    if (step) { left += step[0] / zoom; top += step[1] / zoom; fitted = false; redraw(); }
    else if (event.key === '+' || event.key === '=') scale(1.3);
    else if (event.key === '-') scale(1 / 1.3);
    else if (event.key === '0') fit();
    else return;
    event.preventDefault();
  });
  const light = (on) => (event) => {
    const link = event.target.closest?.('.node');
    if (!link) return;
    for (const [edge, element] of drawnEdges) {
      const touches = on && (drawn.get(edge.from) === link || drawn.get(edge.to) === link);
      element.classList.toggle('lit', touches);
    }
  };
  for (const [kind, on] of [['pointerover', true], ['pointerout', false], ['focusin', true], ['focusout', false]]) view.addEventListener(kind, light(on));
  view.addEventListener('focusin', (event) => {
    const item = boxes[[...drawn].find(([, link]) => link === event.target)?.[0]];
    if (!item || moved) return;
    const wide = box.clientWidth / zoom, high = box.clientHeight / zoom;
    if (item.x < left || item.x + item.width > left + wide) { left = item.x + item.width / 2 - wide / 2; redraw(); }
    if (item.y < top || item.y + item.height > top + high) { top = item.y + item.height / 2 - high / 2; redraw(); }
  });

  function spread() {
    for (const item of boxes) {
      item.states = cells ? item.members.map((row) => cells[row] ?? '.') : [];
      const counts = item.states.length === 1 ? [[item.states[0], 1]] : count(item.states);
      // What runs is told before what is to be looked at, but for what has failed.
      const running = counts.some(([letter]) => letter === 'r');
      const first = counts[0]?.[0] ?? '.';
      item.letter = running && first !== 'f' ? 'r' : first;
    }
    for (const [index, link] of drawn) colourNode(boxes[index], link);
    if (!canvas.hidden) redraw();
  }
  const states = fetcher();
  const load = async () => {
    if (!box.dataset.states) return;
    cells = (await states.get(box.dataset.states)).cells;
    spread();
  };
  const reload = throttle(load, 1000);
  document.addEventListener('airlock:change', ({ detail }) => {
    if (!box.dataset.states) return;
    const change = detail.runs?.[box.dataset.run];
    if (detail.again || change?.again) return reload();
    if (!change) return;
    if (states.isBusy()) reload();
    const letters = [...cells];
    for (const [row, letter] of change.cells) letters[row] = letter;
    cells = letters.join('');
    spread();
  });

  paint();
  fit();
  draw();
  await load();
  box.dataset.ready = 'true';
  onTheme(() => { paint(); redraw(); });
  new ResizeObserver(() => (fitted ? fit() : redraw())).observe(box);
}
