// Runs before the first paint, so that the page never flashes in the other theme: no module, and no other file's work.
(() => {
  let wanted = null;
  try {
    wanted = localStorage.getItem('ringfence.theme');
  } catch {
    /* storage is switched off: the system's theme */
  }
  if (wanted === 'dark' || wanted === 'light') document.documentElement.dataset.theme = wanted;
})();
