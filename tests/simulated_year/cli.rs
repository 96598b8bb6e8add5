//! The providers' own CLIs, as their users use them: Claude Code under its lock, Codex without one.

use std::time::Duration;

use tokensink::base::credential::Renewed;
use tokensink::core::token_answer::{self, Answer};

use super::login::CliRequest;
use super::refresh::token_ends;
use super::server::{Delivered, Sender, latency};
use super::world::{Event, MINUTE, World};

/// Inside so much of the end by the host's clock, a CLI renews (Claude Code 2.1.329, Codex 0.169.0).
const WINDOW: i64 = 5 * MINUTE;

impl World {
    pub fn cli_use(&mut self, number: usize) {
        let wall = self.wall();
        let is_connected = self.is_connected();
        let login = &mut self.logins[number];
        let Some(held) = &login.held else { return };
        // Whoever waits for the lock adopts what its holder brings.
        if !is_connected || login.cli.is_some() || login.is_locked() {
            return;
        }
        let is_near = held.credential.expires_at.is_some_and(|at| at.millis_from(wall) <= WINDOW);
        let is_refused = token_ends(held.access_number, &self.server.ends) <= self.now;
        if !is_near && !is_refused {
            return;
        }
        let token = held.token();
        let reply = self.server.send(number, token, Sender::Cli, self.now, &mut self.random);
        if matches!(reply, Delivered::NotSent) {
            return;
        }
        login.cli = Some(CliRequest { token, reply });
        let wait = latency(&mut self.random).min(10_000);
        self.at(wait, Event::CliReply { login: number });
    }

    pub fn cli_reply(&mut self, number: usize) {
        let (wall, ahead) = (self.wall(), self.clock.ahead);
        let login = &mut self.logins[number];
        let Some(CliRequest { token, reply }) = login.cli.take() else { return };
        let Delivered::Reply { status, retry_after, body } = reply else {
            if reply.is_grant() {
                self.checks.lost_by_cli(&mut self.server, number);
            }
            return;
        };
        match token_answer::judge(status, retry_after, body.as_bytes()) {
            Answer::Granted(grant) => {
                let lifetime = grant.expires_in.unwrap_or(Duration::from_secs(3600));
                let renewed = Renewed {
                    expires_at: Some(wall.after(lifetime)),
                    access: grant.access,
                    refresh: grant.refresh,
                    ..Renewed::default()
                };
                login.store(token, &renewed, ahead);
                self.checks.figures.by_clis += 1;
            }
            // Claude Code blanks a login that was refused, if it still stands there.
            Answer::Rejected { .. } => {
                let is_still_there = login.held.as_ref().is_some_and(|held| held.token() == token);
                if is_still_there && login.has_lock() {
                    login.held = None;
                }
            }
            _ => {}
        }
        self.hint();
    }
}
