// Runs x tasks on a canvas: rows are tasks, columns are runs (the newest at the right), one letter a cell. Only what is
// in view is drawn. The table twin below holds the same for who does not see a canvas.
import { groupsOf } from './groups.js';
import { tip as makeTip } from './tip.js';
import { colour, fetcher, fit, getJson, iconPath, onTheme, ORDER, span, STATES, throttle, words } from './states.js';

const ROW = 22, COLUMN = 24, HEAD = 72, BAR = 40, CELL = 18;

export async function start(box) {
  const twin = document.getElementById('grid-twin');
  const toggle = document.getElementById('grid-toggle');
  const said = document.getElementById('grid-said');
  let tasks, runs, rows, version, colours, sprites, frame = 0;
  // `rows` are tasks and groups as they are shown; `tree` is all of them.
  let tree = { children: [] }, isGrouped = false;
  const groups = groupsOf(box.dataset.base);
  let at = { row: -1, column: -1 };
  let widest = 0;

  const space = document.createElement('div');
  space.className = 'space';
  const canvas = document.createElement('canvas');
  canvas.setAttribute('aria-hidden', 'true');
  const link = document.createElement('a');
  link.className = 'cell';
  link.tabIndex = -1;
  link.hidden = true;
  space.append(canvas, link);
  box.append(space);
  const tip = makeTip();

  const grid = fetcher();
  async function load() {
    const data = await grid.get(box.dataset.grid);
    if (data.version !== version) {
      const named = await getJson(data.tasks);
      tasks = named.tasks;
      isGrouped = named.groups.length > 0;
      tree = treeOf(named);
      version = data.version;
      list();
    }
    runs = data.runs;
    const pen = canvas.getContext('2d');
    pen.font = `12.5px ${getComputedStyle(box).fontFamily}`;
    widest = rows.slice(0, 2000).reduce((most, row) => Math.max(most, pen.measureText(row.label).width + indent(row)), 60);
  }
  // What is shown: all but what is in closed groups, or what the filter finds and the groups around it.
  function list() {
    const wanted = box.dataset.filter.toLowerCase();
    rows = [];
    const add = (item, depth) => {
      for (const row of item.children) {
        row.depth = depth;
        if (!row.children) {
          if (!wanted || row.id.toLowerCase().includes(wanted)) rows.push(row);
          continue;
        }
        row.open = wanted !== '' || !groups.isClosed(row);
        const at = rows.push(row);
        if (row.open) add(row, depth + 1);
        if (wanted && rows.length === at) rows.pop();
      }
    };
    add(tree, 0);
  }
  const indent = (row) => (isGrouped ? row.depth * 14 + 16 : 0);
  // A group is in the state of the task in it that needs a look first.
  const letterOf = (row, cells) => {
    if (!row.members) return cells[row.task];
    let worst = ORDER.length;
    for (const task of row.members) worst = Math.min(worst, ORDER.indexOf(cells[task]));
    return ORDER[worst];
  };
  function turn(row) {
    groups.toggle(row.id);
    list();
    size();
    at.row = rows.indexOf(row);
    said.textContent = `${row.id}, ${row.open ? 'open' : 'closed'}`;
    redraw();
  }

  function paint() {
    colours = Object.fromEntries(Object.entries(STATES).map(([letter, state]) => [letter, colour(`--${state}`)]));
    colours.text = colour('--text');
    colours.muted = colour('--muted');
    colours.panel = colour('--panel');
    colours.line = colour('--line');
    colours.raised = colour('--raised');
    const scale = devicePixelRatio;
    sprites = {};
    for (const letter of Object.keys(STATES)) {
      const sprite = document.createElement('canvas');
      sprite.width = sprite.height = Math.ceil(CELL * scale);
      const pen = sprite.getContext('2d');
      pen.scale(scale, scale);
      pen.beginPath();
      pen.roundRect(0.75, 0.75, CELL - 1.5, CELL - 1.5, 4);
      const hollow = letter === '.' || letter === 'x';
      if (hollow) {
        pen.strokeStyle = colours[letter];
        pen.setLineDash(letter === '.' ? [2, 2] : []);
        pen.stroke();
      } else {
        pen.fillStyle = colours[letter];
        pen.fill();
      }
      if (letter !== '.') {
        pen.setLineDash([]);
        pen.strokeStyle = hollow ? colours[letter] : colours.panel;
        pen.lineWidth = 2.4;
        pen.lineCap = pen.lineJoin = 'round';
        pen.translate(3.5, 3.5);
        pen.scale(11 / 16, 11 / 16);
        pen.stroke(new Path2D(iconPath(letter)));
      }
      sprites[letter] = sprite;
    }
  }

  const labels = () => Math.max(90, Math.min(widest + 28, 300, Math.round(box.clientWidth * 0.36)));
  const x = (column) => labels() + 10 + column * COLUMN;
  const y = (row) => HEAD + row * ROW;

  function size() {
    space.style.width = `${Math.max(box.clientWidth, x(runs.length) + 8)}px`;
    space.style.height = `${y(rows.length) + 6}px`;
    const width = box.clientWidth;
    const height = Math.min(y(rows.length) + 6, box.clientHeight || innerHeight);
    canvas.width = Math.ceil(width * devicePixelRatio);
    canvas.height = Math.ceil(height * devicePixelRatio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }

  // What runs are about, as `01-31 06:00`: without the time where it is the same each day, with the year where that is not.
  function dates() {
    const differs = (from, to) => new Set(runs.filter((run) => run.date).map((run) => run.date.slice(from, to))).size > 1;
    const from = differs(0, 4) ? 0 : 5, to = differs(11, 16) ? 16 : 10;
    return runs.map((run) => run.date?.slice(from, to) ?? '');
  }

  const duration = (run) => (run.start ? (run.end ?? Date.now() * 1000) - run.start : 0);

  function draw() {
    frame = 0;
    const pen = canvas.getContext('2d');
    const scale = devicePixelRatio;
    const width = canvas.width / scale, height = canvas.height / scale;
    const left = box.scrollLeft, top = box.scrollTop;
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.fillStyle = colours.panel;
    pen.fillRect(0, 0, width, height);
    const firstRow = Math.max(0, Math.floor(top / ROW)), lastRow = Math.min(rows.length, Math.ceil((top + height - HEAD) / ROW));
    const firstColumn = Math.max(0, Math.floor(left / COLUMN)), lastColumn = Math.min(runs.length, Math.ceil((left + width - labels()) / COLUMN));

    pen.fillStyle = colours.raised;
    if (at.row >= firstRow && at.row < lastRow) pen.fillRect(0, y(at.row) - top, width, ROW);
    if (at.column >= 0) pen.fillRect(x(at.column) - left - (COLUMN - CELL) / 2, 0, COLUMN, height);
    for (let column = firstColumn; column < lastColumn; column++) {
      const { cells } = runs[column];
      for (let row = firstRow; row < lastRow; row++) {
        const sprite = sprites[letterOf(rows[row], cells)];
        if (sprite) pen.drawImage(sprite, x(column) - left, y(row) - top + 2, CELL, CELL);
      }
    }

    pen.fillStyle = colours.panel;
    pen.fillRect(0, 0, width, HEAD - 2);
    // By what is over: a run that hangs must not flatten the others. The square root tells short ones apart.
    const over = runs.filter((run) => run.end).map(duration);
    const longest = Math.max(1, ...(over.length ? over : runs.map(duration)));
    for (let column = firstColumn; column < lastColumn; column++) {
      const run = runs[column];
      const high = Math.max(3, BAR * Math.sqrt(Math.min(1, duration(run) / longest)));
      pen.fillStyle = column === at.column ? colours.raised : colours.panel;
      if (column === at.column) pen.fillRect(x(column) - left - (COLUMN - CELL) / 2, 0, COLUMN, HEAD - 2);
      pen.fillStyle = colours[run.letter];
      pen.beginPath();
      pen.roundRect(x(column) - left + 3, 6 + BAR - high, CELL - 6, high, 2);
      pen.fill();
      if (run.type === 'manual') {
        pen.beginPath();
        pen.arc(x(column) - left + CELL / 2, BAR + 11, 2, 0, 7);
        pen.fill();
      }
    }
    // As many dates as there is room for, the newest first.
    const days = dates();
    pen.font = `10.5px ${getComputedStyle(box).fontFamily}`;
    pen.fillStyle = colours.muted;
    pen.textBaseline = 'middle';
    pen.textAlign = 'right';
    let free = Infinity;
    for (let column = runs.length - 1; column >= 0; column--) {
      const right = x(column) + CELL, wide = pen.measureText(days[column]).width;
      if (!wide || right > free || right - wide - left < labels() + 8) continue;
      pen.fillText(days[column], right - left, HEAD - 10);
      free = right - wide - 10;
    }
    pen.textAlign = 'left';
    pen.fillStyle = colours.panel;
    pen.fillRect(0, 0, labels() + 6, height);
    pen.font = `12.5px ${getComputedStyle(box).fontFamily}`;
    pen.textBaseline = 'middle';
    for (let row = firstRow; row < lastRow; row++) {
      if (y(row) - top < HEAD - ROW) continue;
      pen.fillStyle = row === at.row ? colours.raised : colours.panel;
      pen.fillRect(0, y(row) - top, labels() + 6, ROW);
      pen.fillStyle = colours.text;
      const item = rows[row], from = 12 + indent(item), middle = y(row) - top + ROW / 2;
      if (item.children) {
        pen.strokeStyle = colours.muted;
        pen.lineWidth = 1.6;
        pen.beginPath();
        const [a, b, c] = item.open ? [[-13, -2], [-9, 2], [-5, -2]] : [[-11, -4], [-7, 0], [-11, 4]];
        pen.moveTo(from + a[0], middle + a[1]);
        pen.lineTo(from + b[0], middle + b[1]);
        pen.lineTo(from + c[0], middle + c[1]);
        pen.stroke();
      }
      pen.fillText(fit(pen, item.label, labels() - 2 - from), from, middle + 0.5);
    }
    pen.fillStyle = colours.panel;
    pen.fillRect(0, 0, labels() + 6, HEAD - 2);
    pen.fillStyle = colours.muted;
    pen.font = `11.5px ${getComputedStyle(box).fontFamily}`;
    const found = box.dataset.filter ? rows.filter((row) => !row.children).length : tasks.length;
    const shown = found === tasks.length ? tasks.length.toLocaleString('en') : `${found} of ${tasks.length}`;
    pen.fillText(`${shown} tasks`, 12, HEAD - 14);
    if (labels() > 130) {
      pen.textAlign = 'right';
      pen.fillText(span(longest), labels(), 10);
      pen.textAlign = 'left';
    }
    pen.fillStyle = colours.line;
    pen.fillRect(0, HEAD - 2, width, 1);
    pen.fillRect(labels() + 5, 0, 1, height);
  }
  const redraw = () => (frame ||= requestAnimationFrame(draw));

  const href = (row, column) => {
    const run = `${box.dataset.base}/runs/${encodeURIComponent(runs[column].id)}`;
    return row < 0 || rows[row].children ? run : `${run}/tasks/${encodeURIComponent(rows[row].id)}${rows[row].isMapped ? '#instances' : ''}`;
  };
  const tell = (row, column) => {
    const run = runs[column];
    const when = run.date ?? run.id;
    if (row < 0) return `${run.id}\n${run.state}, ${run.type}, ${span(duration(run))}`;
    const item = rows[row];
    if (!item.children) return `${item.id}${item.isMapped ? ', mapped' : ''}\n${words(letterOf(item, run.cells))}\n${when}`;
    return `${item.id}, ${item.members.length} tasks\n${words(letterOf(item, run.cells))}\n${when}\n${item.open ? 'Click to close' : 'Click to open'}`;
  };

  function place(row, column, event) {
    at = { row, column };
    const on = column >= 0 && column < runs.length && row < rows.length;
    link.hidden = !on;
    if (!on) tip.hide();
    if (on) {
      link.href = href(row, column);
      link.setAttribute('aria-label', tell(row, column).replaceAll('\n', ', '));
      const head = row < 0;
      link.style.left = `${x(column)}px`;
      link.style.top = `${head ? box.scrollTop + 4 : y(row) + 2}px`;
      link.style.width = `${CELL}px`;
      link.style.height = `${head ? HEAD - 10 : CELL}px`;
      tip.show(tell(row, column), event ?? { clientX: link.getBoundingClientRect().right, clientY: link.getBoundingClientRect().top });
    }
    redraw();
  }

  box.addEventListener('pointermove', (event) => {
    const rect = box.getBoundingClientRect();
    const inside = { x: event.clientX - rect.left, y: event.clientY - rect.top };
    const column = inside.x < labels() ? -1 : Math.floor((inside.x + box.scrollLeft - x(0) + (COLUMN - CELL) / 2) / COLUMN);
    const row = inside.y < HEAD ? -1 : Math.floor((inside.y + box.scrollTop - HEAD) / ROW);
    place(row, column >= runs.length ? -1 : column, event);
  });
  box.addEventListener('click', (event) => {
    const rect = box.getBoundingClientRect();
    const top = event.clientY - rect.top;
    const item = top < HEAD ? undefined : rows[Math.floor((top + box.scrollTop - HEAD) / ROW)];
    // A key's click on the link has no place.
    if (!item?.children || event.detail === 0) return;
    event.preventDefault();
    turn(item);
  });
  box.addEventListener('pointerleave', () => place(-1, -1));
  box.addEventListener('scroll', () => { tip.hide(); redraw(); }, { passive: true });
  box.addEventListener('keydown', (event) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], PageUp: [-20, 0], PageDown: [20, 0] }[event.key];
    if ((event.key === 'Enter' || event.key === ' ') && rows[at.row]?.children) {
      turn(rows[at.row]);
    } else if (event.key === 'Enter' && !link.hidden) {
      link.click();
    } else if (step || event.key === 'Home' || event.key === 'End') {
      const from = at.column < 0 ? { row: 0, column: runs.length } : at;
      let row = Math.min(rows.length - 1, Math.max(-1, from.row + (step?.[0] ?? 0)));
      const column = Math.min(runs.length - 1, Math.max(0, from.column + (step?.[1] ?? 0)));
      if (event.key === 'Home') row = 0;
      if (event.key === 'End') row = rows.length - 1;
      if (row >= 0) {
        if (y(row) - box.scrollTop < HEAD) box.scrollTop = y(row) - HEAD;
        if (y(row + 1) - box.scrollTop > box.clientHeight) box.scrollTop = y(row + 1) - box.clientHeight;
      }
      if (x(column) - box.scrollLeft < labels() + 10) box.scrollLeft = x(column) - labels() - 10;
      if (x(column + 1) - box.scrollLeft > box.clientWidth) box.scrollLeft = x(column + 1) - box.clientWidth;
      place(row, column);
      said.textContent = tell(row, column).replaceAll('\n', ', ');
    } else if (event.key === 't') {
      toggle.click();
    } else {
      return;
    }
    event.preventDefault();
  });

  function show(grid) {
    box.hidden = !grid;
    twin.hidden = grid;
    toggle.textContent = grid ? 'Table' : 'Grid';
    toggle.setAttribute('aria-pressed', String(!grid));
    tip.hide();
    if (grid) { size(); draw(); }
  }
  toggle.addEventListener('click', () => { show(box.hidden); (box.hidden ? toggle : box).focus(); });

  await load();
  paint();
  toggle.hidden = false;
  show(true);
  size();
  box.scrollLeft = box.scrollWidth;
  draw();
  box.dataset.ready = 'true';

  new ResizeObserver(() => { if (!box.hidden) { size(); draw(); } }).observe(box);
  onTheme(() => { paint(); redraw(); });
  const reload = throttle(async () => { await load(); size(); redraw(); }, 1000);
  document.addEventListener('airlock:change', ({ detail }) => {
    if (detail.again) return reload();
    if (grid.isBusy()) reload();
    for (const [id, change] of Object.entries(detail.runs ?? {})) {
      const run = runs.find((known) => known.id === id);
      if (!run || change.again || change.state) { reload(); continue; }
      const cells = [...run.cells];
      for (const [row, letter] of change.cells) cells[row] = letter;
      run.cells = cells.join('');
    }
    redraw();
  });
}

/** Tasks and groups as a tree: `{id, label, task}` and `{id, label, closed, members, children}`, in the order of the dag. */
function treeOf({ tasks, groups, group_of: groupOf, mapped }) {
  const isMapped = new Set(mapped);
  const root = { children: [] };
  const nodes = groups.map((group) => ({ id: group.id, closed: group.closed, children: [], members: [], isIn: false }));
  const short = (id, around) => (around?.id && id.startsWith(`${around.id}.`) ? id.slice(around.id.length + 1) : id);
  tasks.forEach((id, task) => {
    const around = nodes[groupOf[task] ?? -1] ?? root;
    around.children.push({ id, label: short(id, around) + (isMapped.has(task) ? ' [ ]' : ''), task, isMapped: isMapped.has(task) });
    // A group stands where its first task does.
    for (let at = groupOf[task] ?? -1; at >= 0; at = groups[at].parent ?? -1) {
      nodes[at].members.push(task);
      if (nodes[at].isIn) continue;
      const parent = nodes[groups[at].parent ?? -1] ?? root;
      nodes[at].isIn = true;
      nodes[at].label = short(nodes[at].id, parent);
      parent.children.push(nodes[at]);
    }
  });
  return root;
}
