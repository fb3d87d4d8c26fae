// Evaluated in the page, after katex.min.js: draws a formula and says what stands where.
globalThis.drawn = (latex) => {
  const place = document.getElementById("formula");
  try {
    katex.render(latex, place, { displayMode: true, throwOnError: true });
  } catch (error) {
    place.textContent = "";
    return { mathml: String(error.message), texts: [] };
  }
  const texts = [];
  for (const span of place.querySelectorAll("span")) {
    if (span.children.length === 0 && /\S/.test(span.textContent)) {
      const { x, y, width, height } = span.getBoundingClientRect();
      texts.push([span.textContent.trim(), x, y, width, height]);
    }
  }
  const math = place.querySelector(".katex-mathml math");
  return { mathml: math === null ? "" : math.outerHTML, texts };
};
