// Keys. `?` lists them. None is taken while something is typed, nor with Ctrl, Alt or Meta.

const go = (href) => () => location.assign(href);
const KEYS = [
  ['?', 'This list', () => help()],
  ['/', 'Search', () => { const field = document.querySelector('[role="search"] input[type="search"]'); field?.focus(); field?.select(); }],
  ['g d', 'DAGs', go('/dags')],
  ['g r', 'Runs', go('/runs')],
  ['g c', 'Components', go('/components')],
  ['g a', 'Assets', go('/assets')],
  ['g v', 'Variables', go('/variables')],
  ['g n', 'Connections', go('/connections')],
  ['g p', 'Pools', go('/pools')],
  ['j', 'Next row', () => row(1)],
  ['k', 'Row before', () => row(-1)],
  ['u', 'Up a level', () => [...document.querySelectorAll('.crumbs a')].pop()?.click()],
  ['1 – 9', 'Tabs', null],
  ['t', 'Trigger; in the grid: table', () => (document.getElementById('trigger'))?.click()],
  ['c', 'Clear', () => (document.getElementById('clear-run') ?? document.getElementById('clear-task'))?.click()],
  ['r', 'Refresh', () => location.reload()],
  ['arrows', 'Move in the grid, pan the graph', null],
  ['+ - 0', 'Zoom the graph, fit it', null],
  ['Esc', 'Close', null],
];
const actions = new Map(KEYS.filter(([, , act]) => act).map(([key, , act]) => [key, act]));
for (let tab = 1; tab <= 9; tab++) {
  actions.set(String(tab), () => document.querySelectorAll('.tabs a')[tab - 1]?.click());
}

let prefix = '';
document.addEventListener('keydown', (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey) return;
  // A dialog keeps the focus for a moment after it has closed.
  if (event.target.closest('input, textarea, select, [contenteditable], dialog[open]')) return;
  const act = actions.get(prefix ? `${prefix} ${event.key}` : event.key);
  prefix = !prefix && event.key === 'g' ? 'g' : '';
  if (act) {
    event.preventDefault();
    act();
  }
});

function row(step) {
  const links = [...document.querySelectorAll('[data-row-link]')].filter((link) => link.getClientRects().length);
  const at = links.indexOf(document.activeElement);
  links[at < 0 ? (step > 0 ? 0 : links.length - 1) : Math.min(links.length - 1, Math.max(0, at + step))]?.focus();
}

let dialog = null;
function help() {
  if (!dialog) {
    dialog = document.createElement('dialog');
    dialog.id = 'help';
    const heading = document.createElement('h2');
    heading.textContent = 'Keyboard';
    const table = document.createElement('table');
    for (const [key, meaning] of KEYS) {
      const line = table.insertRow();
      const keys = line.insertCell();
      key.split(' ').forEach((part) => {
        const tag = document.createElement('kbd');
        tag.textContent = part;
        keys.append(tag, ' ');
      });
      line.insertCell().textContent = meaning;
    }
    const form = document.createElement('form');
    form.method = 'dialog';
    const close = document.createElement('button');
    close.textContent = 'Close';
    form.append(close);
    dialog.append(heading, table, form);
    dialog.addEventListener('click', (event) => event.target === dialog && dialog.close());
    document.body.append(dialog);
  }
  dialog.showModal();
}

const opener = document.getElementById('help-open');
if (opener) {
  opener.hidden = false;
  opener.addEventListener('click', help);
}
