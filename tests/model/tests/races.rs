//! Each scenario in every order of its threads' steps, or in very many where there are too many to try all.

use wpool_model::scenarios;

/// More orders than most scenarios have.
const ORDERS: usize = 20_000;

fn in_all_orders(scenario: fn()) {
    shuttle::check_dfs(scenario, Some(ORDERS));
    shuttle::check_random(scenario, 2_000);
}

macro_rules! races {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                in_all_orders(scenarios::$name);
            }
        )*
    };
}

races! {
    all_waiting_threads_see_the_end
    a_poll_is_ready_or_woken
    a_watcher_is_told_once
    a_callback_is_called_once
    a_map_gives_its_results_in_order
    a_whole_map_is_handed_over_once
    an_abort_ends_a_wait
    an_answer_is_taken_or_comes_back
    emitted_values_come_before_the_end
}
