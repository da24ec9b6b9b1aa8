// The graph of tasks. The server has placed everything; here only what is in view is drawn: as SVG with real links
// while that is at most 600 boxes, on a canvas beyond.
import { colourNode, frame as makeFrame, label, make, node, parts, SIDE, SQUARE, TOP, way } from './graph_parts.js';
import { groupsOf } from './groups.js';
import { tip as makeTip } from './tip.js';
import { colour, fetcher, getJson, onTheme, ORDER, STATES, throttle, words } from './states.js';

const MOST_LINKS = 600;
// Below this nothing can be read.
const LEAST_READABLE = 0.8, LEAST_SEEN = 0.5;

export async function start(box) {
  const groups = groupsOf(box.dataset.base);
  let graph = await getJson(groups.ask(box.dataset.graph));
  if (!graph.boxes) return;
  box.hidden = false;
  document.getElementById('outline')?.removeAttribute('open');

  let cells = '';
  let zoom = 1, left = 0, top = 0, frame = 0, fitted = true;
  let { boxes, edges, frames, labels } = parts(graph);
  let mapped = {};

  const view = make('svg', { class: 'view' });
  const [frameLayer, edgeLayer, labelLayer, nodeLayer] = [0, 1, 2, 3].map(() => make('g'));
  view.append(frameLayer, edgeLayer, labelLayer, nodeLayer);
  const canvas = document.createElement('canvas');
  canvas.setAttribute('aria-hidden', 'true');
  canvas.hidden = true;
  const tools = document.createElement('div');
  tools.className = 'tools';
  const acts = [['−', 'Zoom out', () => scale(1 / 1.3)], ['+', 'Zoom in', () => scale(1.3)], ['Fit', 'Fit the graph', () => fit()]];
  if (graph.groups.length) {
    acts.unshift(['Open groups', 'Open all groups', () => regroup(() => groups.all('open'))], ['Close groups', 'Close all groups', () => regroup(() => groups.all('closed'))]);
  }
  for (const [text, label, act] of acts) {
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
  const drawnEdges = new Map(), drawnFrames = new Map(), drawnLabels = new Map();
  const href = (task) => `${box.dataset.base}/tasks/${encodeURIComponent(task)}`;
  const hrefOf = (item) => {
    if (item.members.length > 1) return box.dataset.unfold ?? href(item.id);
    return href(item.id) + (item.isMapped && box.dataset.states ? '#instances' : '');
  };

  function inView() {
    const width = box.clientWidth / zoom, height = box.clientHeight / zoom;
    const near = { left: left - 80, top: top - 80, right: left + width + 80, bottom: top + height + 80 };
    const isNear = (item) => item.x < near.right && item.x + item.width > near.left && item.y < near.bottom && item.y + item.height > near.top;
    return {
      boxes: boxes.filter(isNear),
      frames: frames.filter(isNear),
      labels: labels.filter(isNear),
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
    const same = (item) => item;
    sync(frameLayer, drawnFrames, seen.frames, same, makeFrame);
    sync(edgeLayer, drawnEdges, seen.edges, same, (edge) => make('path', { class: edge.stub ? 'edge stub' : 'edge', d: way(edge) }));
    sync(labelLayer, drawnLabels, seen.labels, same, label);
    sync(nodeLayer, drawn, seen.boxes, (item) => item.index, (item) => {
      const link = node(item, hrefOf(item));
      colourNode(item, link, cells !== '');
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
    for (const edge of seen.edges) if (!edge.stub) lines.addPath(edge.drawn ??= new Path2D(way(edge)));
    pen.stroke(lines);
    for (const item of seen.frames) pen.strokeRect(item.x, item.y, item.width, item.height);
    for (const item of seen.boxes) {
      pen.fillStyle = colours[item.letter];
      pen.fillRect(item.x, item.y, item.width, item.height);
    }
  }
  const redraw = () => (frame ||= requestAnimationFrame(draw));

  const leastSeen = () => (boxes.some((item) => item.columns) ? LEAST_SEEN : LEAST_READABLE);
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
    const least = leastSeen();
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
    if (hit?.group) toggle(hit.id);
    else if (hit) location.assign(href(hit.id));
  });
  view.addEventListener('click', (event) => {
    const id = event.target.closest?.('[data-group]')?.dataset.group;
    if (id !== undefined && !moved) toggle(id);
  });
  view.addEventListener('keydown', (event) => {
    const id = event.target.closest?.('[data-group]')?.dataset.group;
    if (id === undefined || (event.key !== 'Enter' && event.key !== ' ')) return;
    event.preventDefault();
    toggle(id);
  });

  // Opens or closes a group, which stays where it is on the screen.
  const cornerOf = (id) => [...frames, ...boxes.filter((item) => item.group)].find((item) => item.id === id);
  async function toggle(id) {
    const before = cornerOf(id);
    await regroup(() => groups.toggle(id));
    const after = cornerOf(id);
    if (before && after && !fitted) {
      left += after.x - before.x;
      top += after.y - before.y;
    }
    draw();
    [...view.querySelectorAll('[data-group]')].find((button) => button.dataset.group === id)?.focus({ preventScroll: true });
  }
  async function regroup(change) {
    change();
    graph = await getJson(groups.ask(box.dataset.graph));
    ({ boxes, edges, frames, labels } = parts(graph));
    for (const map of [drawn, drawnEdges, drawnFrames, drawnLabels]) {
      for (const element of map.values()) element.remove();
      map.clear();
    }
    spread();
    if (fitted) fit(); else redraw();
  }
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
      const tally = {};
      item.states = item.columns && cells ? item.members.map((row) => cells[row] ?? '.') : [];
      for (const row of cells ? item.members : []) {
        const instances = mapped[row];
        if (!instances) tally[cells[row] ?? '.'] = (tally[cells[row] ?? '.'] ?? 0) + 1;
        else for (const [letter, number] of Object.entries(instances)) tally[letter] = (tally[letter] ?? 0) + number;
      }
      item.counts = [...ORDER].filter((letter) => tally[letter]).map((letter) => [letter, tally[letter]]);
      const times = item.members.filter((row) => mapped[row]).map((row) => Object.values(mapped[row]).reduce((a, b) => a + b, 0));
      item.times = times.length ? Math.max(...times) : undefined;
      // What runs is told before what is to be looked at, but for what has failed.
      const first = item.counts[0]?.[0] ?? '.';
      item.letter = tally.r && first !== 'f' ? 'r' : first;
    }
    for (const [index, link] of drawn) colourNode(boxes[index], link, cells !== '');
    if (!canvas.hidden) redraw();
  }
  const states = fetcher();
  const load = async () => {
    if (!box.dataset.states) return;
    ({ cells, mapped = {} } = await states.get(box.dataset.states));
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
