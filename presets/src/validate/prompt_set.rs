//! `workload.set` with its `categories` and `per_category`, made into prompts.

use bench_core::preset::Route;

use super::values::{Checked, invalid};
use crate::raw::{PromptSet, RawPrompt, RawWorkload};
use crate::suite::{CATEGORIES, Category};

/// The prompts of the set; `None` where the preset names none.
pub(super) fn prompts(raw: &RawWorkload, route: Route) -> Checked<Option<Vec<RawPrompt>>> {
    let Some(PromptSet::Suite) = raw.set else {
        let needs_set = |key: &str| {
            Err(invalid(key, "given", "no such key without `workload.set`")
                .hint("write `set = \"suite\"` under `[workload]`"))
        };
        return match (&raw.categories, raw.per_category) {
            (Some(_), _) => needs_set("workload.categories"),
            (None, Some(_)) => needs_set("workload.per_category"),
            (None, None) => Ok(None),
        };
    };
    if raw.prompts.as_ref().is_some_and(|prompts| !prompts.is_empty()) {
        return Err(invalid("workload.set", "suite", "no set beside `workload.prompts`")
            .hint("write `prompts = []` to drop inherited prompts"));
    }
    if route != Route::Chat {
        return Err(invalid("workload.set", "suite", "`serving.route = \"chat\"`")
            .hint("the set's prompts are instructions, some with a system message"));
    }
    let count = raw.per_category.map(per_category).transpose()?;
    let mut all = Vec::new();
    for category in chosen(raw.categories.as_deref())? {
        let some = category.prompts(count);
        all.extend(some.map_err(|error| {
            let value = raw.per_category.map_or_else(|| "all".to_owned(), |count| count.to_string());
            invalid("workload.per_category", value, "as many as each category has").hint(&error)
        })?);
    }
    Ok(Some(all))
}

fn per_category(count: i64) -> Checked<usize> {
    usize::try_from(count)
        .ok()
        .filter(|count| *count > 0)
        .ok_or_else(|| invalid("workload.per_category", count, "1 or more"))
}

/// In the set's order, whatever the preset's: the order of prompts is part of the experiment.
fn chosen(names: Option<&[String]>) -> Checked<Vec<&'static Category>> {
    let Some(names) = names else {
        return Ok(CATEGORIES.iter().collect());
    };
    let known: Vec<&str> = CATEGORIES.iter().map(|category| category.name).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(invalid("workload.categories", unknown, format!("some of {}", known.join(", "))));
    }
    if names.is_empty() {
        return Err(invalid("workload.categories", "[]", format!("some of {}", known.join(", "))));
    }
    Ok(CATEGORIES.iter().filter(|category| names.iter().any(|name| name == category.name)).collect())
}
