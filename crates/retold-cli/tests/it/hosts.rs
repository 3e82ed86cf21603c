//! Hosts inside this machine: network namespaces with an address each on one bridge, which also
//! leads to the machine itself. They can be unplugged, partitioned, and given a bad cable.
//!
//! Everything is created by `ip` and `tc` under names that no other run has, in a network without a
//! route on this machine. It is removed when the hosts are dropped or the process ends, even if it
//! is killed.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::Value;
use xtask::postgres_server::PrivateNetwork;

/// The network is one of 198.18.0.0/24 to 198.18.255.0/24, which are reserved for tests between
/// hosts (RFC 2544) and used neither on the internet nor in homes.
const NETWORKS: [u8; 2] = [198, 18];

/// Length of the prefix of the network.
const PREFIX_BITS: u8 = 24;

/// The last byte of the machine's own address. The hosts have the next ones.
const MACHINE: u8 = 1;

/// The program that removes everything. It reads a command to undo each step, and runs the commands
/// from the last to the first when its input ends, which happens when this process ends.
const REAPER: &str = "all=; while read -r undo; do all=\"$undo; $all\"; done; eval \"$all\"";

/// A bad cable in each direction, if the kernel supports it: a round trip takes 100 ms, and one in
/// ten packets is lost on it.
const LATE_AND_LOSSY: &str = "netem delay 50ms 10ms loss 5%";

/// The alternative: a slow link, for which packets queue, so that they are late.
const SLOW: &str = "htb default 1";
const SLOW_CLASS: &str = "classid 1:1 htb rate 512kbit";

/// A class of that link that drops every packet, and a program that selects it for one packet in
/// ten: it loads a random number (the word at -0x1000 + 56 in Linux's socket filters, see
/// `networking/filter` in its documentation), and accepts the packet if the remainder by ten is 0.
const LOST_CLASS: &str = "classid 1:2 htb rate 512kbit";
const LOST_QUEUE: &str = "bfifo limit 1";
const ONE_IN_TEN: &str = "5,32 0 0 4294963256,148 0 0 10,21 0 1 0,6 0 0 4294967295,6 0 0 0";

/// Hosts that exist until this is dropped or the process ends.
pub(crate) struct Hosts {
    /// The prefix of all names.
    name: String,
    network: u8,
    count: usize,
    reaper: Child,
    /// Closed when this process ends.
    life: Option<ChildStdin>,
}

/// The effect of a cable on packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cable {
    /// They are late, and some are lost.
    LateAndLossy,
    /// They queue for a slow link, and some are lost.
    SlowAndLossy,
    /// None: this kernel supports neither.
    Good,
}

impl Hosts {
    /// Creates the hosts, all plugged in.
    ///
    /// # Errors
    ///
    /// Why they cannot be created: missing privileges or programs. Nothing remains then.
    pub(crate) fn make(count: usize) -> Result<Self, String> {
        let routes = output_of(ip("-4 route show table all"))?;
        let network = free_network(&routes)?;
        let mut reaper = Command::new("sh");
        reaper
            .args(["-c", REAPER])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut reaper = reaper.spawn().map_err(|error| format!("sh: {error}"))?;
        let life = reaper.stdin.take();
        let mut hosts = Self {
            // A link's name has 15 characters; three more are appended.
            name: format!("rt{:08x}", fastrand::u32(..)),
            network,
            count,
            reaper,
            life,
        };
        let bridge = hosts.bridge();
        hosts.add(
            ip(&format!("link add {bridge} type bridge")),
            &format!("ip link del {bridge}"),
        )?;
        for host in 0..count {
            hosts.make_host(host)?;
        }
        // If this much works, the rest does not fail.
        let machine = hosts.machine();
        done(ip(&format!(
            "addr add {machine}/{PREFIX_BITS} dev {bridge}"
        )));
        done(ip(&format!("link set {bridge} up")));
        Ok(hosts)
    }

    fn make_host(&mut self, host: usize) -> Result<(), String> {
        let (name, port, bridge) = (self.host(host), self.port(host), self.bridge());
        self.add(
            ip(&format!("netns add {name}")),
            // A process without a network may not notice that its parent has ended.
            &format!("kill -9 $(ip netns pids {name}); ip netns del {name}"),
        )?;
        self.add(
            ip(&format!(
                "link add {port} type veth peer name eth0 netns {name}"
            )),
            &format!("ip link del {port}"),
        )?;
        // `reaches` needs bash.
        output_of(self.command(host, "bash", &["-c", ":"]))?;
        let address = self.address(host);
        done(ip(&format!("link set {port} master {bridge}")));
        done(ip(&format!("link set {port} up")));
        done(ip(&format!("-n {name} link set lo up")));
        done(ip(&format!(
            "-n {name} addr add {address}/{PREFIX_BITS} dev eth0"
        )));
        done(ip(&format!("-n {name} link set eth0 up")));
        Ok(())
    }

    /// Runs a command, and registers the command that undoes it.
    fn add(&mut self, make: Command, undo: &str) -> Result<(), String> {
        output_of(make)?;
        let reaper = self.life.as_mut().expect("it is there until the end");
        writeln!(reaper, "{undo}")
            .map_err(|error| format!("cannot register an undo command: {error}"))
    }

    fn bridge(&self) -> String {
        format!("{}b", self.name)
    }

    /// Returns the name of the namespace.
    fn host(&self, host: usize) -> String {
        format!("{}h{host}", self.name)
    }

    /// Returns the end of the cable at the bridge.
    fn port(&self, host: usize) -> String {
        format!("{}p{host}", self.name)
    }

    /// Returns the machine's own address in the network.
    pub(crate) fn machine(&self) -> Ipv4Addr {
        Ipv4Addr::new(NETWORKS[0], NETWORKS[1], self.network, MACHINE)
    }

    pub(crate) fn network(&self) -> PrivateNetwork {
        PrivateNetwork {
            address: self.machine(),
            prefix_bits: PREFIX_BITS,
        }
    }

    pub(crate) fn address(&self, host: usize) -> Ipv4Addr {
        let last = MACHINE + 1 + u8::try_from(host).expect("they are few");
        Ipv4Addr::new(NETWORKS[0], NETWORKS[1], self.network, last)
    }

    fn others(&self, host: usize) -> impl Iterator<Item = usize> {
        (0..self.count).filter(move |it| *it != host)
    }

    /// Returns a command on a host. `ip` replaces itself with the program, which keeps the process
    /// id.
    pub(crate) fn command(&self, host: usize, program: &str, arguments: &[&str]) -> Command {
        let mut command = ip(&format!("netns exec {}", self.host(host)));
        command.arg(program).args(arguments);
        command
    }

    /// Returns whether the host can connect to the address.
    pub(crate) fn reaches(&self, host: usize, address: SocketAddr) -> bool {
        let (ip, port) = (address.ip(), address.port());
        let connect = format!("exec 3<>/dev/tcp/{ip}/{port}");
        output_of(self.command(host, "bash", &["-c", &connect])).is_ok()
    }

    /// Unplugs the host's cable from the bridge: its packets are lost silently.
    pub(crate) fn unplug(&self, host: usize) {
        done(ip(&format!("link set {} down", self.port(host))));
    }

    /// Plugs the cable in again.
    pub(crate) fn plug(&self, host: usize) {
        done(ip(&format!("link set {} up", self.port(host))));
    }

    /// Cuts a host off from all others, but not from the machine.
    pub(crate) fn partition(&self, host: usize) {
        self.unreachable("add", host);
    }

    /// Reconnects it to the others.
    pub(crate) fn join(&self, host: usize) {
        self.unreachable("del", host);
    }

    fn unreachable(&self, verb: &str, host: usize) {
        for other in self.others(host) {
            for (one, two) in [(host, other), (other, host)] {
                let (at, whom) = (self.host(one), self.address(two));
                done(ip(&format!("-n {at} route {verb} unreachable {whom}/32")));
            }
        }
    }

    /// Gives the host a bad cable in both directions. Returns its effect on this machine.
    pub(crate) fn degrade(&self, host: usize) -> Cable {
        let ends = self.ends(host);
        let all = |make: &dyn Fn(&str) -> Result<(), String>| {
            let made = ends.iter().try_for_each(|end| make(end));
            if made.is_err() {
                self.repair(host);
            }
            made.is_ok()
        };
        if all(&|end| tc(end, "qdisc add", &format!("root {LATE_AND_LOSSY}"))) {
            return Cable::LateAndLossy;
        }
        if all(&slow_and_lossy) {
            return Cable::SlowAndLossy;
        }
        Cable::Good
    }

    /// Returns the number of packets that a bad cable has lost.
    pub(crate) fn lost(&self, host: usize) -> u64 {
        let lost = self.ends(host).map(|end| {
            let shown = output_of(tc_command(&format!("-s -j {end}"), "qdisc show", "root"));
            let shown: Value = serde_json::from_str(&shown.unwrap()).unwrap();
            shown[0]["drops"].as_u64().unwrap()
        });
        lost.iter().sum()
    }

    /// Gives the host a good cable.
    pub(crate) fn repair(&self, host: usize) {
        for end in self.ends(host) {
            // There may be nothing to remove.
            let _ = tc(&end, "qdisc del", "root");
        }
    }

    /// Returns both ends of the cable: options of `tc`, and the link.
    fn ends(&self, host: usize) -> [String; 2] {
        let at_host = format!("-n {} eth0", self.host(host));
        [self.port(host), at_host]
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        drop(self.life.take());
        // A failure cannot be handled here.
        let _ = self.reaper.wait();
    }
}

fn slow_and_lossy(end: &str) -> Result<(), String> {
    tc(end, "qdisc add", &format!("root handle 1: {SLOW}"))?;
    tc(end, "class add", &format!("parent 1: {SLOW_CLASS}"))?;
    tc(end, "class add", &format!("parent 1: {LOST_CLASS}"))?;
    tc(end, "qdisc add", &format!("parent 1:2 {LOST_QUEUE}"))?;
    // The program is one argument.
    let mut filter = tc_command(end, "filter add", "parent 1: protocol all bpf bytecode");
    filter.args([ONE_IN_TEN, "classid", "1:2"]);
    output_of(filter).map(drop)
}

/// Returns a command of `tc` on an end of a cable: the option for its namespace, and the link.
fn tc(end: &str, verb: &str, what: &str) -> Result<(), String> {
    output_of(tc_command(end, verb, what)).map(drop)
}

fn tc_command(end: &str, verb: &str, what: &str) -> Command {
    let (options, link) = end.rsplit_once(' ').unwrap_or(("", end));
    let mut command = Command::new("tc");
    command.args(options.split_whitespace());
    command.args(verb.split_whitespace());
    command.args(["dev", link]);
    command.args(what.split_whitespace());
    command
}

fn ip(arguments: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(arguments.split_whitespace());
    command
}

/// Runs a command. Returns its output, or why it failed.
fn output_of(mut command: Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("{command:?}: {}", said.trim()))
        }
    }
}

/// Runs a command that must succeed.
#[track_caller]
fn done(command: Command) {
    if let Err(error) = output_of(command) {
        panic!("{error}");
    }
}

/// Returns the number of a network that these routes do not use.
fn free_network(routes: &str) -> Result<u8, String> {
    let [first, second] = NETWORKS;
    let begun = fastrand::u8(..);
    let mut all = (0..=u8::MAX).map(|it| it.wrapping_add(begun));
    let is_wide = |it: &str| {
        let wide = it.strip_prefix(&format!("{first}.{second}.0.0/"));
        wide.is_some_and(|bits| bits.parse().is_ok_and(|bits: u8| bits < PREFIX_BITS))
    };
    let free = all.find(|it| !routes.contains(&format!("{first}.{second}.{it}.")));
    match free.filter(|_| !routes.split_whitespace().any(is_wide)) {
        Some(network) => Ok(network),
        None => Err(format!(
            "networks within {first}.{second}.0.0/16 are in use"
        )),
    }
}
