//! From settings to the words of the core, and from ids back to files: the one place that knows
//! both sides.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use crate::base::id::{GatewayId, LoginId, Provider, SinkId};
use crate::config::settings::{Apply, GatewayKind, GatewaySettings, LoginSettings, Settings};
use crate::core::memory::Memory;
use crate::core::model::{
    ApplyRule, Desired, DesiredGateway, DesiredLogin, DesiredSink, Force, Observed, ObservedSource,
    TargetContent, TargetId,
};
use crate::daemon::store::{fetched_in, mirrors_in};
use crate::format::container::Inside;
use crate::format::layout::Layout;
use crate::providers;
use crate::sinks::openclaw::probe::Manifests;
use crate::sinks::{self, Around, Place};
use crate::sys::clock;
use crate::sys::paths::Surroundings;

/// One source with its file.
#[derive(Debug, Clone)]
pub struct Source {
    /// The login.
    pub login: LoginId,
    /// Whose CLI owns it.
    pub provider: Provider,
    /// How it is laid out; `None` for a provider whose logins are not read.
    pub layout: Option<Layout>,
    /// The file; empty when the configuration names none and there is no rule for the provider.
    pub path: PathBuf,
}

impl Source {
    /// Reads it once.
    #[must_use]
    pub fn read(&self) -> providers::Read {
        providers::read(self.provider, self.layout.as_ref(), &self.path)
    }
}

/// The configuration, ready to be observed.
#[derive(Debug)]
pub struct World {
    /// The settings it was made of.
    pub settings: Settings,
    /// What the core works on.
    pub desired: Desired,
    /// The sources.
    pub sources: Vec<Source>,
    /// What the process was started with.
    pub surroundings: Surroundings,
    mirrors: PathBuf,
    manifests: Manifests,
    /// The containers of gateways, as they were asked last.
    containers: RefCell<BTreeMap<GatewayId, Rc<Inside>>>,
    /// When (monotonic) each was asked.
    asked: RefCell<BTreeMap<GatewayId, Duration>>,
}

/// One look at everything.
#[derive(Debug)]
pub struct Observation {
    /// What the core works on.
    pub observed: Observed,
    /// How to reach each target.
    pub places: BTreeMap<TargetId, Place>,
}

impl World {
    /// Joins settings and surroundings.
    #[must_use]
    pub fn new(settings: Settings, surroundings: Surroundings) -> Self {
        let sources: Vec<Source> = settings
            .logins
            .iter()
            .map(|login| Source {
                login: login.id.clone(),
                provider: login.provider,
                layout: providers::layout(login),
                path: source_path(login, &surroundings).unwrap_or_default(),
            })
            .collect();
        let desired = desired_of(&settings);
        let mirrors = mirrors_in(&surroundings.state_dir());
        Self {
            settings,
            desired,
            sources,
            surroundings,
            mirrors,
            manifests: Manifests::default(),
            containers: RefCell::default(),
            asked: RefCell::default(),
        }
    }

    /// Looks at every source and every target once. Sources count as settled; the daemon, which
    /// looks again before it believes a husk, says otherwise itself.
    #[must_use]
    pub fn observe(&self) -> Observation {
        let mut sources = Vec::new();
        let mut source_files = Vec::new();
        for source in &self.sources {
            let read = source.read();
            source_files.extend(read.identity);
            sources.push(ObservedSource {
                login: source.login.clone(),
                path: source.path.display().to_string(),
                reading: read.reading,
                mode: read.mode,
                settled: true,
            });
        }
        let mut observed = Observed { sources, ..Observed::default() };
        let mut places = BTreeMap::new();
        for sink in &self.settings.sinks {
            for mut place in sinks::observe(sink, &self.around(&sink.id)) {
                // By whatever links it is reached: a source is never written as a sink.
                if place.file.is_some_and(|file| source_files.contains(&(file.dev, file.ino))) {
                    let why = "is the source of a login itself".to_owned();
                    place.observed.content = TargetContent::Unreadable(why);
                }
                if !place.is_mirror && self.is_own(&place.path) {
                    let why = "is a file of tokensink's own".to_owned();
                    place.observed.content = TargetContent::Unreadable(why);
                }
                observed.targets.push(place.observed.clone());
                places.insert(place.observed.id.clone(), place);
            }
        }
        Observation { observed, places }
    }

    /// True for a path inside our own configuration or state, where no sink belongs.
    fn is_own(&self, path: &Path) -> bool {
        let own = [self.surroundings.config_dir(), self.surroundings.state_dir()];
        own.iter().any(|directory| path.starts_with(directory))
    }

    /// The source of a login.
    #[must_use]
    pub fn source(&self, login: &LoginId) -> Option<&Source> {
        self.sources.iter().find(|source| &source.login == login)
    }

    /// The files whose change may need a pass.
    #[must_use]
    pub fn watched(&self) -> Vec<PathBuf> {
        let sources = self.sources.iter().map(|s| s.path.clone()).filter(|p| !p.as_os_str().is_empty());
        let sinks = self.settings.sinks.iter();
        sources.chain(sinks.flat_map(|sink| sinks::watched(sink, &self.around(&sink.id)))).collect()
    }

    /// Takes over what is remembered of the containers of gateways.
    pub fn recall(&self, memory: &Memory) {
        let known = memory.gateways.iter();
        let known = known.filter_map(|(id, gateway)| Some((id.clone(), Rc::new(gateway.inside.clone()?))));
        *self.containers.borrow_mut() = known.collect();
    }

    /// Whether a container of which nothing is known may be asked for again.
    #[must_use]
    pub fn may_ask(&self, gateway: &GatewayId, pause: Duration) -> bool {
        let asked = self.asked.borrow().get(gateway).copied();
        asked.is_none_or(|at| clock::monotonic().saturating_sub(at) >= pause)
    }

    /// Notes that it was asked for.
    pub fn note_asked(&self, gateway: &GatewayId, at: Duration) {
        self.asked.borrow_mut().insert(gateway.clone(), at);
    }

    /// What a sink needs of the surroundings: among them the unit, or the container, of the first
    /// gateway that reads it and is one.
    #[must_use]
    pub fn around(&self, sink: &SinkId) -> Around<'_> {
        let gateways = || self.settings.gateways.iter().filter(|g| g.sinks.contains(sink));
        let unit = gateways().find_map(|g| match &g.kind {
            GatewayKind::Unit { unit, scope } => Some((unit.as_str(), *scope)),
            _ => None,
        });
        let container = gateways().find_map(|g| match &g.kind {
            GatewayKind::Container { .. } | GatewayKind::Compose { .. } => {
                Some(self.containers.borrow().get(&g.id).cloned())
            }
            _ => None,
        });
        Around {
            search_path: self.surroundings.search_path(),
            home: &self.surroundings.home,
            mirrors: &self.mirrors,
            unit,
            container,
            manifests: &self.manifests,
        }
    }
}

/// The file of a login: the configured one, the one in our own store, or by the rule of its CLI. For one
/// in a container it is what was last read there.
#[must_use]
pub fn source_path(login: &LoginSettings, surroundings: &Surroundings) -> Option<PathBuf> {
    if login.container.is_some() {
        return Some(fetched_in(&surroundings.state_dir(), &login.id));
    }
    if let Some(path) = &login.path {
        return Some(path.clone());
    }
    if login.is_own() {
        return Some(surroundings.logins_dir().join(format!("{}.json", login.id)));
    }
    providers::default_path(login.provider, &surroundings.home, &surroundings.variables)
}

fn desired_of(settings: &Settings) -> Desired {
    let provider_of =
        |id: &LoginId| settings.logins.iter().find(|l| &l.id == id).map_or(Provider::Claude, |l| l.provider);
    let logins = settings
        .logins
        .iter()
        .map(|l| DesiredLogin {
            id: l.id.clone(),
            provider: l.provider,
            label: l.label.clone(),
            refresh_mode: l.refresh.mode.as_str(),
        })
        .collect();
    let sinks = settings
        .sinks
        .iter()
        .map(|s| DesiredSink {
            id: s.id.clone(),
            login: s.login.clone(),
            kind: s.kind.as_str(),
            render: sinks::render_of(&s.kind, provider_of(&s.login)),
        })
        .collect();
    let gateways = settings
        .gateways
        .iter()
        .map(|g| DesiredGateway {
            id: g.id.clone(),
            sinks: g.sinks.clone(),
            kind: g.kind.as_str(),
            apply: rule_of(g),
            min_interval: g.min_interval,
            is_heard: g.unauthorized.is_some(),
        })
        .collect();
    let ahead = settings.alerting.login_deadline.iter().max().copied().unwrap_or_default();
    Desired { logins, sinks, gateways, warn: settings.warn, ahead }
}

fn rule_of(gateway: &GatewaySettings) -> ApplyRule {
    match gateway.apply {
        Apply::None => ApplyRule::Never,
        Apply::Auto => ApplyRule::WhenNeeded,
        Apply::Reload => ApplyRule::Always(Force::Reload),
        Apply::Restart => ApplyRule::Always(Force::Restart),
    }
}
