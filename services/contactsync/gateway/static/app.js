// Keeps a filter's page up to date: the server sends the piece that changes, ready to be shown.
(() => {
  const news = document.getElementById("news");
  if (!news || !window.EventSource) return;
  let source;
  const follow = () => {
    source = new EventSource(news.dataset.live);
    source.addEventListener("news", (event) => {
      // Only what the server's own template made, which escapes every value.
      const piece = new DOMParser().parseFromString(event.data, "text/html");
      news.replaceChildren(...piece.body.childNodes);
    });
    source.addEventListener("gone", () => {
      source.close();
      location.assign(document.querySelector("a.brand").href);
    });
    source.addEventListener("error", () => {
      // The browser tries again by itself, but not after an answer that is none: a filter that begins in a moment.
      if (source.readyState === EventSource.CLOSED) setTimeout(follow, 3000);
    });
  };
  follow();
  addEventListener("pagehide", () => source.close());
})();
