//! Each check on a host where it has something to say, and on one where it has not.

use super::facts::*;
use super::*;
use crate::base::id::Provider;

const SOURCE: &str = "/home/a/.claude/.credentials.json";

fn login() -> LoginFacts {
    LoginFacts {
        id: "claude".into(),
        provider: Provider::Claude,
        path: SOURCE.into(),
        daemons_path: Some(SOURCE.into()),
        is_driven: true,
        cli: Some(CliFacts {
            name: "claude",
            here: Some("/home/a/.nvm/bin/claude".into()),
            by_daemon: Some(Some("/usr/bin/claude".into())),
        }),
    }
}

fn place(of: PlaceOf) -> PlaceFacts {
    let ours = Some(OwnerFacts { uid: 1000, mode: 0o600, is_writable: true });
    PlaceFacts {
        of,
        path: SOURCE.into(),
        mount: Some(MountFacts {
            point: "/home".into(),
            kind: "ext4".into(),
            is_read_only: false,
            is_file: false,
        }),
        file: ours,
        directory: ours,
        link: None,
        led_to: None,
        blind: None,
        is_private: false,
    }
}

fn source() -> PlaceFacts {
    place(PlaceOf::Source("claude".into()))
}

fn sink() -> PlaceFacts {
    place(PlaceOf::Sink("copy".into()))
}

fn consumer(reads: Reads) -> Consumer {
    Consumer {
        gateway: "claw".into(),
        unit: "openclaw-gateway.service".into(),
        systemctl: "systemctl --user",
        variables: Vec::new(),
        reads: vec![("copy".into(), Provider::Claude, reads)],
        uid: Some(1000),
        private: vec![("/home/a/copy.json".into(), 1000)],
        leads: Vec::new(),
    }
}

fn daemon(pid: u32, is_ours: bool) -> DaemonFacts {
    let version = is_ours.then(|| "0.1.0".to_owned());
    DaemonFacts { pid, program: "/usr/bin/tokensink".into(), is_replaced: false, version, is_ours }
}

/// A host on which every check is made and nothing is wrong.
fn well() -> Facts {
    let own = PlaceFacts {
        path: "/home/a/.local/state/tokensink".into(),
        file: Some(OwnerFacts { uid: 1000, mode: 0o700, is_writable: true }),
        is_private: true,
        ..place(PlaceOf::Own)
    };
    let unit =
        UnitState { is_loaded: true, file_state: "enabled".into(), is_active: true, active: "active".into() };
    Facts {
        logins: vec![login()],
        places: vec![source(), sink(), own],
        consumers: vec![consumer(Reads::Reference)],
        daemons: vec![daemon(7, true)],
        manager: Manager { unreachable: None, unit: Some(unit), version: "0.1.0", is_booted: true },
        lingers: Some(true),
        user: "alice".into(),
        uid: 1000,
        inotify: Some(InotifyFacts { instances: (3, 128), watches: (20, 65_536) }),
        logs: vec![LogFacts { gateway: "claw".into(), unreadable: None }],
        network: Some(NetworkFacts {
            servers: vec![ServerFacts {
                host: "platform.claude.com".into(),
                logins: vec!["claude".into()],
                answer: Ok(Some(200)),
            }],
            ways_here: vec!["HTTPS_PROXY".into()],
            ways_differ: Some(Vec::new()),
            is_synchronized: Some(true),
        }),
        ..Facts::default()
    }
}

/// Everything that is found, by code, subject and cause; the sentences say something.
#[track_caller]
fn found(facts: &Facts) -> Vec<String> {
    let found = examine(facts).into_iter().filter_map(|outcome| outcome.found).flatten();
    let found = found.map(|one| {
        assert!(one.summary.len() > 20 && !one.summary.ends_with('.'), "{one:?}");
        assert!(!one.evidence.is_empty(), "{one:?}");
        let cause = one.caused_by.map_or_else(String::new, |cause| format!(" by {cause}"));
        format!("{} {} {}{cause}", one.severity.as_str(), one.code, one.subject)
    });
    found.collect()
}

/// What is found once the well host was changed.
#[track_caller]
fn changed(change: impl FnOnce(&mut Facts)) -> Vec<String> {
    let mut facts = well();
    change(&mut facts);
    found(&facts)
}

fn with(reads: Reads, name: &str, origins: &[Origin]) -> Vec<String> {
    changed(|facts| {
        let variables = vec![(name.to_owned(), origins.to_vec())];
        facts.consumers = vec![Consumer { variables, ..consumer(reads) }];
    })
}

#[test]
fn on_a_host_where_all_is_well_every_check_is_made_and_none_finds_anything() {
    assert_eq!(found(&well()), [""; 0]);
    for outcome in examine(&well()) {
        assert!(outcome.found.is_some(), "{} was not made", outcome.check);
    }
    let names: std::collections::BTreeSet<_> = CHECKS.iter().map(|check| check.name).collect();
    assert_eq!(names.len(), CHECKS.len());
}

#[test]
fn where_nothing_can_be_seen_nothing_is_said() {
    assert_eq!(found(&Facts::default()), [""; 0]);
}

#[test]
fn a_variable_that_comes_before_a_sink_hides_it_and_its_origin_is_named() {
    let unit = Origin::Unit(vec!["/etc/systemd/user/x.d/10.conf".into()]);
    let shadow = ["warning ENV_SHADOWS_FILE claw"];
    assert_eq!(with(Reads::Reference, "ANTHROPIC_API_KEY", std::slice::from_ref(&unit)), shadow);
    assert_eq!(with(Reads::Reference, "ANTHROPIC_OAUTH_TOKEN", &[Origin::Process(9)]), shadow);
    assert_eq!(with(Reads::Native, "ANTHROPIC_API_KEY", &[Origin::Manager]), shadow);
    assert_eq!(with(Reads::ClaudeFile, "CLAUDE_CODE_OAUTH_TOKEN", std::slice::from_ref(&unit)), shadow);
    assert_eq!(with(Reads::CodexFile, "CODEX_API_KEY", std::slice::from_ref(&unit)), shadow);
    let mut facts = well();
    let variables = vec![("ANTHROPIC_API_KEY".to_owned(), vec![unit, Origin::Process(9)])];
    facts.consumers = vec![Consumer { variables, ..consumer(Reads::Reference) }];
    let one = environment::shadows(&facts).unwrap().remove(0);
    assert!(
        one.evidence.contains("/etc/systemd/user/x.d/10.conf") && one.evidence.contains("process 9"),
        "{one:?}"
    );
    assert!(one.next.contains("UnsetEnvironment=ANTHROPIC_API_KEY"), "{one:?}");
}

#[test]
fn a_variable_that_comes_after_a_sink_hides_nothing() {
    assert_eq!(
        with(Reads::Otherwise, "ANTHROPIC_API_KEY", &[Origin::Manager]),
        [""; 0],
        "a profile comes first"
    );
    assert_eq!(with(Reads::CodexFile, "ANTHROPIC_API_KEY", &[Origin::Manager]), [""; 0]);
    assert_eq!(
        with(Reads::ClaudeFile, "ANTHROPIC_OAUTH_TOKEN", &[Origin::Manager]),
        [""; 0],
        "Claude Code knows it not"
    );
}

#[test]
fn a_variable_that_we_keep_current_is_no_shadow_and_another_value_of_it_is() {
    let kept = |key: &str| Reads::Variable { key: key.into(), path: "/home/a/.env".into() };
    let file = |path: &str| Origin::File(path.into());
    let oauth = "ANTHROPIC_OAUTH_TOKEN";
    let ours = [file("/home/a/.env"), Origin::Process(9)];
    assert_eq!(with(kept(oauth), oauth, &ours), [""; 0]);
    assert_eq!(with(kept(oauth), "ANTHROPIC_API_KEY", &[Origin::Manager]), [""; 0], "it comes after ours");
    assert_eq!(with(kept("ANTHROPIC_API_KEY"), oauth, &[Origin::Manager]), ["warning ENV_SHADOWS_FILE claw"]);
    let both = |origins: &[Origin]| {
        changed(|facts| {
            let mut claw = consumer(Reads::Reference);
            claw.reads.push(("env".into(), Provider::Claude, kept(oauth)));
            claw.variables = vec![(oauth.into(), origins.to_vec())];
            facts.consumers = vec![claw];
        })
    };
    assert_eq!(both(&ours), [""; 0], "what hides the reference is current as well");
    assert_eq!(both(&[file("/home/a/.env"), file("/etc/other.env")]), ["warning ENV_SHADOWS_FILE claw"]);
    assert_eq!(both(&[Origin::Unit(Vec::new()), Origin::Process(9)]), ["warning ENV_SHADOWS_FILE claw"]);
}

#[test]
fn a_variable_of_the_shell_is_worth_knowing() {
    let shell = |name: &str| changed(|facts| facts.shell = [name.to_owned()].into());
    assert_eq!(shell("ANTHROPIC_API_KEY"), ["notice ENV_SHADOWS_FILE claude"]);
    assert_eq!(shell("CODEX_API_KEY"), [""; 0], "there is no such login");
}

#[test]
fn a_gateway_of_another_user_that_may_not_read_its_sinks_is_told() {
    let runs_as =
        |uid: u32| changed(|facts| facts.consumers.iter_mut().for_each(|claw| claw.uid = Some(uid)));
    assert_eq!(runs_as(1001), ["warning CONSUMER_ELSEWHERE claw"]);
    assert_eq!(runs_as(0), [""; 0], "root reads everything");
}

#[test]
fn a_gateway_that_looks_in_another_directory_is_told() {
    let lead = Lead {
        what: "sink copy".into(),
        wanted: "/home/a/.openclaw".into(),
        found: "/root/.openclaw".into(),
        variables: "HOME=/root".into(),
    };
    let told = changed(|facts| facts.consumers.iter_mut().for_each(|claw| claw.leads = vec![lead.clone()]));
    assert_eq!(told, ["warning CONSUMER_ELSEWHERE claw"]);
}

#[test]
fn a_daemon_that_keeps_another_file_is_told() {
    let other = Some("/srv/claude/.credentials.json".to_owned());
    let told = changed(|facts| facts.logins = vec![LoginFacts { daemons_path: other, ..login() }]);
    assert_eq!(told, ["warning CONSUMER_ELSEWHERE claude"]);
    assert_eq!(changed(|facts| facts.logins = vec![LoginFacts { daemons_path: None, ..login() }]), [""; 0]);
}

#[test]
fn a_cli_that_only_the_shell_finds_is_told() {
    let found_by = |daemon: Option<Option<String>>, is_driven: bool| {
        changed(|facts| {
            let cli = CliFacts { name: "claude", here: Some("/opt/x/bin/claude".into()), by_daemon: daemon };
            facts.logins = vec![LoginFacts { cli: Some(cli), is_driven, ..login() }];
        })
    };
    assert_eq!(found_by(Some(None), true), ["warning CLI_OFF_PATH claude"]);
    assert_eq!(found_by(Some(None), false), [""; 0], "it is not needed");
    assert_eq!(found_by(None, true), [""; 0], "the daemon's environment is not to be seen");
}

fn mounted(place: PlaceFacts, change: impl FnOnce(&mut MountFacts)) -> Vec<String> {
    let mut place = place;
    change(place.mount.as_mut().unwrap());
    changed(|facts| facts.places = vec![place])
}

#[test]
fn a_read_only_mount_is_told_of_a_source_and_of_a_sink() {
    assert_eq!(mounted(source(), |mount| mount.is_read_only = true), ["warning READ_ONLY_MOUNT claude"]);
    assert_eq!(mounted(sink(), |mount| mount.is_read_only = true), ["warning READ_ONLY_MOUNT copy"]);
}

#[test]
fn a_login_in_a_containers_layer_or_in_memory_is_told_and_a_sink_there_is_not() {
    let root = |kind: &str| {
        let kind = kind.to_owned();
        move |mount: &mut MountFacts| {
            mount.point = "/".into();
            mount.kind = kind;
        }
    };
    assert_eq!(mounted(source(), root("overlay")), ["warning COPIED_LOGIN claude"]);
    assert_eq!(mounted(source(), root("tmpfs")), ["warning COPIED_LOGIN claude"]);
    assert_eq!(mounted(sink(), root("overlay")), [""; 0]);
    assert_eq!(
        mounted(source(), |mount| mount.kind = "overlay".into()),
        [""; 0],
        "an overlay of its own stays"
    );
}

#[test]
fn a_single_file_that_is_a_mount_is_told() {
    assert_eq!(mounted(source(), |mount| mount.is_file = true), ["warning MOUNTED_FILE claude"]);
    assert_eq!(mounted(sink(), |mount| mount.is_file = true), ["notice MOUNTED_FILE copy"]);
}

#[test]
fn a_link_that_became_a_file_or_leads_nowhere_is_told() {
    let link = |dangles| Some(LinkFacts { target: "/srv/login.json".into(), dangles });
    let with = |link: Option<LinkFacts>, led_to: Option<&str>| {
        let led_to = led_to.map(str::to_owned);
        changed(|facts| facts.places = vec![PlaceFacts { link, led_to, ..source() }])
    };
    assert_eq!(with(None, Some("/srv/login.json")), ["warning LINK_DRIFT claude"]);
    assert_eq!(with(link(true), None), ["warning LINK_DRIFT claude"]);
    assert_eq!(
        with(link(false), Some("/srv/other.json")),
        [""; 0],
        "a link that leads elsewhere is somebody's wish"
    );
}

#[test]
fn a_file_of_somebody_else_is_told() {
    let of = |uid, is_writable| Some(OwnerFacts { uid, mode: 0o644, is_writable });
    let owned = |place: PlaceFacts| changed(|facts| facts.places = vec![place]);
    assert_eq!(owned(PlaceFacts { file: of(0, false), ..source() }), ["warning OWNER_DIFFERS claude"]);
    assert_eq!(owned(PlaceFacts { directory: of(0, false), ..sink() }), ["warning OWNER_DIFFERS copy"]);
    assert_eq!(owned(PlaceFacts { directory: of(0, true), ..sink() }), [""; 0], "it may be written");
    assert_eq!(owned(PlaceFacts { file: of(0, false), ..sink() }), [""; 0], "its directory is ours");
    let own = PlaceFacts { file: of(0, false), ..place(PlaceOf::Own) };
    assert_eq!(owned(own), [format!("warning OWNER_DIFFERS {SOURCE}")], "as `sudo` leaves it");
    assert_eq!(owned(PlaceFacts { file: None, ..source() }), [""; 0]);
}

#[test]
fn our_own_directory_that_others_may_look_into_is_told() {
    let with = |mode, is_private| {
        let file = Some(OwnerFacts { uid: 1000, mode, is_writable: true });
        changed(|facts| facts.places = vec![PlaceFacts { file, is_private, ..place(PlaceOf::Own) }])
    };
    assert_eq!(with(0o755, true), [format!("warning MODE_TOO_WIDE {SOURCE}")]);
    assert_eq!(with(0o700, true), [""; 0]);
    assert_eq!(with(0o755, false), [""; 0], "what is not ours is judged by `status`");
}

#[test]
fn a_file_system_without_inotify_is_named_and_so_are_its_locks() {
    let blind =
        |place: PlaceFacts| changed(|facts| facts.places = vec![PlaceFacts { blind: Some("nfs"), ..place }]);
    assert_eq!(
        blind(source()),
        ["notice NO_INOTIFY claude", "notice LOCKS_UNSAFE claude by NO_INOTIFY:claude"]
    );
    assert_eq!(blind(sink()), ["notice NO_INOTIFY copy"], "nobody refreshes at a sink");
}

#[test]
fn a_variable_that_a_container_was_created_with_hides_a_reference_and_not_the_env_file_it_came_from() {
    let created = [Origin::Container("claw-1".into())];
    let told = ["warning ENV_SHADOWS_FILE claw"];
    assert_eq!(with(Reads::Reference, "ANTHROPIC_OAUTH_TOKEN", &created), told);
    let kept = || Reads::Variable { key: "ANTHROPIC_OAUTH_TOKEN".into(), path: "/home/a/.env".into() };
    assert_eq!(with(kept(), "ANTHROPIC_OAUTH_TOKEN", &created), [""; 0]);
}

#[test]
fn one_instance_that_two_units_run_is_told() {
    let twin = |unit: &str, scope, is_active, is_enabled| TwinFacts {
        unit: unit.into(),
        scope,
        is_active,
        is_enabled,
    };
    let run_by = |units: &[TwinFacts]| {
        changed(|facts| {
            facts.twins = vec![Twins { what: "the OpenClaw in /x".into(), units: units.to_vec() }]
        })
    };
    let user = twin("openclaw-gateway.service", "user", true, true);
    let told = ["warning DUPLICATE_SERVICE openclaw-gateway.service"];
    assert_eq!(run_by(&[user.clone(), twin("openclaw-gateway.service", "system", false, true)]), told);
    assert_eq!(run_by(&[user, twin("openclaw-gateway.service", "system", false, false)]), [""; 0]);
}

#[test]
fn what_did_this_work_before_is_told_with_the_command_that_ends_it() {
    let syncer = |unit: Option<&str>| SyncerFacts {
        by: unit.map_or("cron, crontab -e".into(), str::to_owned),
        unit: unit.map(str::to_owned),
        does: "copies a login into the files of its consumers",
        script: Some("/home/a/sync-oauth-token.sh".into()),
        remedy: "systemctl --user disable --now old.service".into(),
    };
    let told = changed(|facts| facts.syncers = vec![syncer(Some("old.service")), syncer(None)]);
    assert_eq!(told, ["warning SECOND_WRITER old.service", "warning SECOND_WRITER cron, crontab -e"]);
    assert_eq!(changed(|facts| facts.syncers.clear()), [""; 0]);
}

#[test]
fn two_daemons_of_one_user_are_told() {
    let told = changed(|facts| facts.daemons = vec![daemon(7, true), daemon(8, false)]);
    assert_eq!(told, ["warning DUPLICATE_SERVICE daemon"]);
}

#[test]
fn a_service_manager_that_cannot_be_asked_is_told() {
    let told = changed(|facts| facts.manager.unreachable = Some("no service manager answers".into()));
    assert_eq!(told, ["notice BUS_UNAVAILABLE user manager"]);
}

#[test]
fn a_unit_that_is_not_there_failed_or_is_not_enabled_is_told() {
    let unit = |is_loaded, file_state: &str, active: &str| {
        let (file_state, is_active) = (file_state.to_owned(), active == "active");
        let unit = UnitState { is_loaded, file_state, is_active, active: active.to_owned() };
        changed(|facts| {
            facts.manager.unit = Some(unit);
            facts.daemons = Vec::new();
        })
    };
    let told = ["notice UNIT_NOT_ENABLED tokensink.service"];
    assert_eq!(unit(false, "", "inactive"), told);
    assert_eq!(unit(true, "disabled", "active"), told);
    assert_eq!(unit(true, "enabled", "inactive"), told);
    assert_eq!(unit(true, "enabled", "failed"), told);
    assert_eq!(unit(true, "enabled", "active"), [""; 0]);
    assert_eq!(unit(true, "enabled-runtime", "active"), [""; 0]);
}

#[test]
fn a_user_that_does_not_linger_is_told() {
    assert_eq!(changed(|facts| facts.lingers = Some(false)), ["notice NO_LINGER linger"]);
    assert_eq!(changed(|facts| facts.lingers = None), [""; 0]);
}

#[test]
fn a_daemon_of_another_version_or_of_a_replaced_file_is_told() {
    let runs = |daemon: DaemonFacts| changed(|facts| facts.daemons = vec![daemon]);
    let told = ["notice VERSION_DIFFERS daemon"];
    assert_eq!(runs(DaemonFacts { version: Some("0.0.9".into()), ..daemon(7, true) }), told);
    assert_eq!(runs(DaemonFacts { is_replaced: true, ..daemon(7, true) }), told);
    assert_eq!(runs(DaemonFacts { version: None, ..daemon(7, true) }), [""; 0]);
}

#[test]
fn a_limit_of_inotify_that_is_nearly_used_up_is_told() {
    let used =
        |instances, watches| changed(|facts| facts.inotify = Some(InotifyFacts { instances, watches }));
    assert_eq!(used((120, 128), (20, 65_536)), ["notice INOTIFY_LIMIT max_user_instances"]);
    assert_eq!(used((3, 128), (65_536, 65_536)), ["notice INOTIFY_LIMIT max_user_watches"]);
    assert_eq!(used((100, 128), (20, 65_536)), [""; 0]);
}

#[test]
fn a_log_that_cannot_be_read_is_told() {
    let unreadable = Some("journalctl ended with exit status: 1".to_owned());
    let told = changed(|facts| facts.logs = vec![LogFacts { gateway: "claw".into(), unreadable }]);
    assert_eq!(told, ["warning JOURNAL_UNREADABLE claw"]);
}

#[test]
fn a_retired_store_of_an_instance_that_nobody_configured_is_told() {
    let stray = |has_database, stores: &[&str]| {
        let stores = stores.iter().map(|store| (*store).to_owned()).collect();
        let stray = Stray { state_dir: "/home/a/.openclaw-x".into(), release: None, has_database, stores };
        changed(|facts| facts.strays = vec![stray])
    };
    assert_eq!(stray(true, &["/x/auth-profiles.json"]), ["notice STORE_RETIRED /home/a/.openclaw-x"]);
    assert_eq!(stray(true, &[]), [""; 0]);
    assert_eq!(stray(false, &["/x/auth-profiles.json"]), [""; 0], "it is in use");
}

fn asked(change: impl FnOnce(&mut NetworkFacts)) -> Vec<String> {
    changed(|facts| change(facts.network.as_mut().unwrap()))
}

fn answers(answer: Result<Option<i64>, Unreached>) -> Vec<String> {
    asked(|network| network.servers.iter_mut().for_each(|server| server.answer = answer.clone()))
}

#[test]
fn what_stands_in_the_way_to_a_provider_is_told_by_what_it_is() {
    assert_eq!(answers(Err(Unreached::UntrustedIssuer)), ["warning TLS_UNTRUSTED platform.claude.com"]);
    let over = Err(Unreached::Certificate("it is over by the clock of this host".into()));
    assert_eq!(answers(over), ["warning TLS_UNTRUSTED platform.claude.com"]);
    let nobody = Err(Unreached::NoConnection("not sent: no connection".into()));
    assert_eq!(answers(nobody), ["warning ENDPOINT_UNREACHABLE platform.claude.com"]);
    assert_eq!(answers(Ok(None)), [""; 0]);
}

#[test]
fn a_proxy_that_the_daemon_does_not_have_is_told() {
    let told = asked(|network| network.ways_differ = Some(vec!["HTTPS_PROXY".into()]));
    assert_eq!(told, ["notice PROXY_DIFFERS proxy"]);
    assert_eq!(asked(|network| network.ways_differ = None), [""; 0]);
}

#[test]
fn a_clock_that_is_off_is_told_and_one_that_nobody_keeps_right() {
    assert_eq!(answers(Ok(Some(-3_600_000))), ["warning CLOCK_SUSPECT clock"]);
    assert_eq!(answers(Ok(Some(30_000))), [""; 0]);
    let unkept = asked(|network| network.is_synchronized = Some(false));
    assert_eq!(unkept, ["notice CLOCK_SUSPECT time server"]);
    let both = asked(|network| {
        network.is_synchronized = Some(false);
        network.servers.iter_mut().for_each(|server| server.answer = Ok(Some(3_600_000)));
    });
    assert_eq!(both[1], "notice CLOCK_SUSPECT time server by CLOCK_SUSPECT:clock");
}
