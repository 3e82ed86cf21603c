//! What the demonstration prints of a cluster.

use retold_flights::input::Input;
use serde_json::{Value, json};

use super::{Report, aircraft_of, counted, grouped};
use crate::demo::Arguments;
use crate::demo::census::Census;
use crate::demo::cluster::course::{Plan, Told};
use crate::demo::runs::Run;
use crate::failure::Failure;

impl Report<'_> {
    pub(in crate::demo) fn cluster_beginning(
        &mut self,
        arguments: &Arguments,
        plan: &Plan,
        input: &Input,
    ) -> Result<(), Failure> {
        let flights = input.flights.len() as u64;
        let aircraft = aircraft_of(&input.flights);
        let kill_every = plan.kill_every.as_secs_f64();
        self.put("store", json!(self.url));
        self.put("flights", json!(flights));
        self.put("aircraft", json!(aircraft));
        self.put("nodes", json!(plan.nodes));
        self.put("callers", json!(plan.callers));
        self.put("kill_every_seconds", json!(kill_every));
        self.put("seed", json!(plan.seed));
        self.wrapped(&format!(
            "Three applications: aircraft follow flights, notices follow both. They are told what happened by one caller on memory, then by {} through {} on one store. Every {kill_every} s or so one of them is killed (kill -9) and started again.",
            plan.callers,
            counted(plan.nodes, "process").replace("processs", "processes"),
        ))?;
        self.line(String::new())?;
        let source = match &arguments.data {
            Some(path) => path.display().to_string(),
            None => "from New York City in January 2013".into(),
        };
        self.line(format!(
            "flights  {} by {} aircraft: {source}",
            grouped(flights),
            grouped(aircraft)
        ))?;
        self.line(format!("store    {}", self.url))?;
        self.line(format!("seed     {}", plan.seed))?;
        self.line(String::new())?;
        self.output.show()
    }

    pub(in crate::demo) fn cluster_expected(&mut self, memory: &Run) -> Result<(), Failure> {
        let events = memory.census.total();
        let seconds = memory.elapsed.as_secs_f64();
        self.put("memory", json!({"events": events, "seconds": seconds}));
        self.wrapped(&format!(
            "One thread on memory: {} commands, {} events, in {seconds:.1} s.",
            grouped(memory.outcome.commands),
            grouped(events)
        ))?;
        self.output.show()
    }

    pub(in crate::demo) fn cluster_told(
        &mut self,
        told: &Told,
        commands: u64,
        census: &Census,
    ) -> Result<(), Failure> {
        let all = told.elapsed.as_secs_f64();
        let after = told.elapsed.saturating_sub(told.told);
        let kills: u64 = told.kills.iter().map(|(_, count)| count).sum();
        let each: Vec<_> = told
            .kills
            .iter()
            .map(|(node, count)| format!("{node} {count}"))
            .collect();
        let by_node = told.kills.iter();
        let by_node = by_node.map(|(node, count)| (node.clone(), json!(count)));
        self.put(
            "cluster",
            json!({
                "commands": commands,
                "aircraft_told_again": told.again,
                "events": census.total(),
                "seconds": all,
                "told_seconds": told.told.as_secs_f64(),
                "kills": kills,
                "kills_by_node": Value::Object(by_node.collect()),
                "sleeps": told.freezes,
                "ended_by_themselves": told.ended,
                "follower_moves": told.moves,
            }),
        );
        self.wrapped(&format!(
            "The cluster: {} commands, {} events, in {all:.1} s; all was processed {:.1} s after the last command. What {} aircraft did was told again, for who told it was killed, and is recorded once.",
            grouped(commands),
            grouped(census.total()),
            after.as_secs_f64(),
            grouped(told.again),
        ))?;
        let sleeps = match told.freezes {
            0 => String::new(),
            count => format!(
                " {} stopped past its leases and woken.",
                counted_times(count)
            ),
        };
        let ended = match told.ended {
            0 => String::new(),
            count => format!(
                " {} one ended by itself and was started again.",
                counted_times(count)
            ),
        };
        self.wrapped(&format!(
            "Killed {} ({}), and started again; followers went from one node to another {}.{sleeps}{ended}",
            counted_times(kills).to_lowercase(),
            each.join(", "),
            counted_times(told.moves).to_lowercase(),
        ))?;
        self.line(String::new())?;
        self.output.show()
    }

    pub(in crate::demo) fn cluster_views(
        &mut self,
        expected: &str,
        views: &[(String, String)],
        different: usize,
    ) -> Result<(), Failure> {
        self.put("views", json!(views.len()));
        self.put("views_that_differ", json!(different));
        let verdict = match different {
            0 => "all equal that of the single thread".to_owned(),
            count => format!("{count} DIFFER from that of the single thread"),
        };
        self.wrapped(&format!(
            "How punctual the airlines were, as a view that each node keeps: of {} nodes {verdict}.",
            views.len()
        ))?;
        for (node, view) in views.iter().filter(|(_, view)| view != expected) {
            self.line(format!("\n{node}: {view}\nexpected: {expected}\n"))?;
        }
        self.line(String::new())
    }

    /// What was shown, in a sentence.
    pub(in crate::demo) fn cluster_conclusion(
        &mut self,
        told: &Told,
        is_fine: bool,
    ) -> Result<(), Failure> {
        self.put("is_one_story", json!(is_fine));
        let kills: u64 = told.kills.iter().map(|(_, count)| count).sum();
        match is_fine {
            true => self.wrapped(&format!(
                "The same story on one thread in memory and on {} processes that were killed {}: 0 differences.",
                told.kills.len(),
                counted_times(kills).to_lowercase()
            ))?,
            false => self.line("This is not as it must be: what differs is shown above.".into())?,
        }
        if self.output.is_json() {
            let object = std::mem::take(&mut self.object);
            self.output.object(&object)?;
        }
        Ok(())
    }
}

/// So often.
fn counted_times(count: u64) -> String {
    match count {
        1 => "Once".into(),
        2 => "Twice".into(),
        count => format!("{} times", grouped(count)),
    }
}
