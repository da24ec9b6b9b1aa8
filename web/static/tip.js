// A line or two beside the pointer, about what is drawn there.

export function tip() {
  const box = document.createElement('div');
  box.className = 'tip';
  box.hidden = true;
  document.body.append(box);
  return {
    show(text, { clientX, clientY }) {
      box.hidden = false;
      box.textContent = text;
      box.style.left = `${Math.max(4, Math.min(clientX + 14, innerWidth - box.offsetWidth - 8))}px`;
      box.style.top = `${Math.max(4, Math.min(clientY + 14, innerHeight - box.offsetHeight - 8))}px`;
    },
    hide() { box.hidden = true; },
  };
}
