const form = document.querySelector("form.filters");
const runs = [...document.querySelectorAll("ul.runs > li")];
const filter = () => {
  const wanted = [...form.elements].filter(field => field.value);
  for (const run of runs) {
    run.hidden = !wanted.every(field => run.dataset[field.name].split("\n").includes(field.value));
  }
  const shown = runs.filter(run => !run.hidden).length;
  document.getElementById("count").textContent = `${shown} of ${runs.length} runs`;
};
form.hidden = false;
form.addEventListener("change", filter);
form.addEventListener("submit", event => event.preventDefault());
filter();
