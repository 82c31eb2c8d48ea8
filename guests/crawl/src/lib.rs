//! A crawler of many tasks: they share a frontier of pages to visit, a dictionary of the pages already seen, and a
//! queue for the visited pages. The web is generated, so it is always the same.

use serde::{Deserialize, Serialize};
use wpool_guest::{Dict, ObjectError, Queue, Sender};

/// The number of pages of this web.
const PAGES: u32 = 1000;

/// A page that was visited.
#[derive(Serialize, Deserialize, wpool_guest::Schema)]
struct Page {
    url: String,
    links: Vec<String>,
}

/// Visits pages until the frontier is closed, and returns how many it has visited. One task gets the first page: it
/// puts that page on the frontier, waits until all pages are processed, and closes the frontier.
#[wpool_guest::task]
fn crawl(
    start: Option<String>,
    frontier: Queue<String>,
    seen: Dict<String, u32>,
    found: Sender<Page>,
) -> Result<u32, ObjectError> {
    if let Some(url) = start {
        seen.set(&url, &0)?;
        frontier.put(&url)?;
        frontier.join()?;
        frontier.close()?;
        return Ok(0);
    }
    let mut visited = 0;
    loop {
        let url = match frontier.get() {
            Ok(url) => url,
            Err(ObjectError::Closed) => return Ok(visited),
            Err(error) => return Err(error),
        };
        let links = links(&url);
        let depth = seen.get(&url)?.unwrap_or_default() + 1;
        for link in &links {
            // Only the task that adds the page to the dictionary puts it on the frontier.
            if seen.set_default(link, &depth)?.is_none() {
                frontier.put(link)?;
            }
        }
        found.put(&Page { url, links })?;
        frontier.task_done()?;
        visited += 1;
    }
}

/// The links of a page.
fn links(url: &str) -> Vec<String> {
    let Ok(page) = url.trim_start_matches('/').parse::<u32>() else { return vec!["/1".to_owned()] };
    [page * 2, page * 2 + 1, page * 7 + 3].map(|link| format!("/{}", link % PAGES)).to_vec()
}
