//! Hosts inside this machine: network namespaces with an address each on one bridge, which also leads to
//! the machine itself. They can be unplugged, parted from each other, and given a bad cable.
//!
//! Everything is made by `ip` and `tc` under names that no other run has, in a network that nobody here
//! has a route to, and is removed when the hosts are dropped or the process ends, however that is.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::Value;
use xtask::postgres_server::PrivateNetwork;

/// Networks to choose from are 198.18.0.0/24 to 198.18.255.0/24: set apart for trials between hosts
/// (RFC 2544), so neither the internet nor a home has them.
const NETWORKS: [u8; 2] = [198, 18];

/// Bits that the addresses of all hosts have in common.
const PREFIX_BITS: u8 = 24;

/// The last byte of the machine's own address; the hosts have those after it.
const MACHINE: u8 = 1;

/// What removes things: it is told how to undo each as it is made, and undoes them from the last to the first
/// when its input ends, which it does with its owner.
const REAPER: &str = "all=; while read -r undo; do all=\"$undo; $all\"; done; eval \"$all\"";

/// What a bad cable does in each direction, where the kernel can: an answer takes 100 ms, and one in ten
/// does not come at the first attempt.
const LATE_AND_LOSSY: &str = "netem delay 50ms 10ms loss 5%";

/// Where it cannot: a link so slow that packets queue for it, and come late by that.
const SLOW: &str = "htb default 1";
const SLOW_CLASS: &str = "classid 1:1 htb rate 512kbit";

/// A class of that link in which no packet finds a place, and a program that chooses it for one packet
/// in ten: it loads a random number (the word at -0x1000 + 56 in the language of Linux's socket filters,
/// see `networking/filter` in its documentation), and accepts if division by ten leaves nothing.
const LOST_CLASS: &str = "classid 1:2 htb rate 512kbit";
const LOST_QUEUE: &str = "bfifo limit 1";
const ONE_IN_TEN: &str = "5,32 0 0 4294963256,148 0 0 10,21 0 1 0,6 0 0 4294967295,6 0 0 0";

/// Hosts that exist as long as this value, or its process, lives.
pub(crate) struct Hosts {
    /// What the names of everything begin with.
    name: String,
    network: u8,
    count: usize,
    reaper: Child,
    /// Closed with this process.
    life: Option<ChildStdin>,
}

/// What a bad cable does to packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cable {
    /// They come late, and some do not come.
    LateAndLossy,
    /// They queue for a slow link, and some do not come.
    SlowAndLossy,
    /// This kernel can do neither.
    Good,
}

impl Hosts {
    /// Makes them, all plugged in.
    ///
    /// # Errors
    ///
    /// Why none can be made here: who runs this may not, or programs are missing. Nothing is left then.
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
            // With three more characters it fits into the 15 of a link's name.
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
        // From here on there is no reason why anything might fail.
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
            // Who was left without a network may not notice that its parent is gone.
            &format!("kill -9 $(ip netns pids {name}); ip netns del {name}"),
        )?;
        self.add(
            ip(&format!(
                "link add {port} type veth peer name eth0 netns {name}"
            )),
            &format!("ip link del {port}"),
        )?;
        // Hosts ask each other by the shell.
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

    /// Makes something, and sees to it that it is undone.
    fn add(&mut self, make: Command, undo: &str) -> Result<(), String> {
        output_of(make)?;
        let reaper = self.life.as_mut().expect("it is there until the end");
        writeln!(reaper, "{undo}").map_err(|error| format!("telling what removes it: {error}"))
    }

    fn bridge(&self) -> String {
        format!("{}b", self.name)
    }

    /// The name of its namespace.
    fn host(&self, host: usize) -> String {
        format!("{}h{host}", self.name)
    }

    /// The end of its cable at the bridge.
    fn port(&self, host: usize) -> String {
        format!("{}p{host}", self.name)
    }

    /// The machine's own address among them.
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

    /// A program on a host. `ip` becomes the program, so it has the id of what is started.
    pub(crate) fn command(&self, host: usize, program: &str, arguments: &[&str]) -> Command {
        let mut command = ip(&format!("netns exec {}", self.host(host)));
        command.arg(program).args(arguments);
        command
    }

    /// Whether somebody on the host is answered by who listens at the address.
    pub(crate) fn reaches(&self, host: usize, address: SocketAddr) -> bool {
        let (ip, port) = (address.ip(), address.port());
        let connect = format!("exec 3<>/dev/tcp/{ip}/{port}");
        output_of(self.command(host, "bash", &["-c", &connect])).is_ok()
    }

    /// Pulls the host's cable out of the bridge: nothing of it comes anywhere, and nobody is told.
    pub(crate) fn unplug(&self, host: usize) {
        done(ip(&format!("link set {} down", self.port(host))));
    }

    /// Plugs it in again.
    pub(crate) fn plug(&self, host: usize) {
        done(ip(&format!("link set {} up", self.port(host))));
    }

    /// Parts a host from all others; the machine itself remains to it.
    pub(crate) fn part(&self, host: usize) {
        self.unreachable("add", host);
    }

    /// Brings it together with the others again.
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

    /// Gives the host a bad cable, in both directions; says what that can do on this machine.
    pub(crate) fn spoil(&self, host: usize) -> Cable {
        let ends = self.ends(host);
        let all = |make: &dyn Fn(&str) -> Result<(), String>| {
            let made = ends.iter().try_for_each(|end| make(end));
            if made.is_err() {
                self.mend(host);
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

    /// Packets that a bad cable has lost so far.
    pub(crate) fn lost(&self, host: usize) -> u64 {
        let lost = self.ends(host).map(|end| {
            let shown = output_of(tc_command(&format!("-s -j {end}"), "qdisc show", "root"));
            let shown: Value = serde_json::from_str(&shown.unwrap()).unwrap();
            shown[0]["drops"].as_u64().unwrap()
        });
        lost.iter().sum()
    }

    /// Gives it a good one, also if it has one.
    pub(crate) fn mend(&self, host: usize) {
        for end in self.ends(host) {
            // There may be nothing to remove.
            let _ = tc(&end, "qdisc del", "root");
        }
    }

    /// Both ends of its cable: options of `tc`, and the link.
    fn ends(&self, host: usize) -> [String; 2] {
        let at_host = format!("-n {} eth0", self.host(host));
        [self.port(host), at_host]
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        drop(self.life.take());
        // Whether it went well or not, nothing more can be done here.
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

/// `tc` on an end of a cable: the link, with the option that leads to its namespace before it.
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

/// Runs it; its output, or why it failed.
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

/// Runs what cannot fail any more.
#[track_caller]
fn done(command: Command) {
    if let Err(error) = output_of(command) {
        panic!("{error}");
    }
}

/// The number of a network of which these routes know nothing.
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
