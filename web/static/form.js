// Small comforts of forms. All of them work without this.

document.addEventListener('change', (event) => {
  if (event.target.matches('[data-submit]')) event.target.form?.requestSubmit();
});

// A form is sent once, however often its button is pressed; and GET forms leave empty fields out of the URL.
document.addEventListener('submit', (event) => {
  const form = event.target;
  if (form.dataset.sent) { event.preventDefault(); return; }
  if ((event.submitter?.formMethod || form.method) === 'get') {
    for (const field of form.elements) {
      if (field.name && field.value === '' && !field.disabled) field.disabled = field.dataset.leftOut = true;
    }
    return;
  }
  form.dataset.sent = 'true';
  setTimeout(() => delete form.dataset.sent, 5000);
});
addEventListener('pageshow', () => {
  for (const form of document.forms) {
    delete form.dataset.sent;
    for (const field of form.querySelectorAll('[data-left-out]')) {
      field.disabled = false;
      delete field.dataset.leftOut;
    }
  }
});

// The zone of this browser, for the switch of the time zone.
for (const field of document.querySelectorAll('[data-local-zone]')) {
  field.value = Intl.DateTimeFormat().resolvedOptions().timeZone ?? '';
}

// "Copy" beside what is meant to be copied.
for (const text of document.querySelectorAll('[data-copy]')) {
  if (!navigator.clipboard) break;
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'small';
  button.textContent = 'Copy';
  button.addEventListener('click', async () => {
    await navigator.clipboard.writeText(text.textContent);
    button.textContent = 'Copied';
    setTimeout(() => (button.textContent = 'Copy'), 1500);
  });
  text.after(button);
}

// The trigger form: the curl and CLI texts follow what is typed.
const trigger = document.getElementById('trigger-form');
if (trigger) {
  const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const read = (field) => {
    const input = field.querySelector('[name]');
    if (input.type === 'checkbox') return input.checked;
    if (input.value === '') return undefined;
    if (input.type === 'number') return Number(input.value);
    if (field.dataset.json !== undefined) { try { return JSON.parse(input.value); } catch { return undefined; } }
    return input.value;
  };
  const update = () => {
    const conf = {};
    for (const field of trigger.querySelectorAll('[data-param]')) {
      const value = read(field);
      if (value !== undefined) conf[field.dataset.param] = value;
    }
    const date = trigger.elements.logical_date.value.trim();
    const dag = trigger.dataset.dag;
    const body = { logical_date: date || null, conf };
    document.getElementById('copy-curl').textContent =
      `curl -X POST ${location.origin}/api/v2/dags/${encodeURIComponent(dag)}/dagRuns \\\n  -H "Authorization: Bearer $AIRLOCK_TOKEN" -H 'Content-Type: application/json' \\\n  -d ${quote(JSON.stringify(body))}`;
    document.getElementById('copy-cli').textContent =
      `airlock dags trigger ${dag}` + (date ? ` --logical-date ${quote(date)}` : '') +
      (Object.keys(conf).length ? ` --params ${quote(JSON.stringify(conf))}` : '');
  };
  trigger.addEventListener('input', update);
}
