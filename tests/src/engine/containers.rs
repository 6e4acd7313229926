//! What the engine knows of a container, and where traffic can be sent from.

use anyhow::{Context as _, Result, bail};

use super::{Addresses, Engine};
use crate::{
    traffic::Vantage,
    wait::{DEADLINE, wait_until},
};

impl Engine {
    /// What a `docker inspect --format` template says about an object.
    ///
    /// # Errors
    ///
    /// When there is no such object or the template is wrong.
    pub fn inspect(&self, object: &str, template: &str) -> Result<String> {
        self.docker(["inspect", "--format", template, object])
    }

    /// The pid, in the machine, of a container's first process.
    ///
    /// # Errors
    ///
    /// When the container does not run.
    pub fn pid(&self, container: &str) -> Result<u32> {
        match self.inspect(container, "{{.State.Pid}}")?.parse()? {
            0 => bail!("{container} does not run"),
            pid => Ok(pid),
        }
    }

    /// The addresses of a container on the network it has by default.
    ///
    /// # Errors
    ///
    /// When it is on no such network.
    pub fn addresses(&self, container: &str) -> Result<Addresses> {
        self.addresses_on(container, "bridge")
    }

    /// The addresses of a container on a network.
    ///
    /// # Errors
    ///
    /// When it is not on that network.
    pub fn addresses_on(&self, container: &str, network: &str) -> Result<Addresses> {
        let template = format!("{{{{json (index .NetworkSettings.Networks {network:?})}}}}");
        Addresses::parse(&self.inspect(container, &template)?)
            .with_context(|| format!("addresses of {container} on {network}"))
    }

    /// Traffic from where the engine runs.
    #[must_use]
    pub fn from_host(&self) -> Vantage<'_> {
        Vantage::host(&self.machine)
    }

    /// Traffic from a container's network namespace; the container needs no tools for it.
    ///
    /// # Errors
    ///
    /// When the container does not run.
    pub fn from_container(&self, container: &str) -> Result<Vantage<'_>> {
        let pid = self.pid(container)?;
        Ok(Vantage::netns(&self.machine, format!("/proc/{pid}/ns/net")))
    }

    /// Waits until a container's process has ended.
    ///
    /// # Errors
    ///
    /// When it still runs at the deadline.
    pub fn wait_exited(&self, container: &str) -> Result<()> {
        wait_until(DEADLINE, &format!("the end of {container}"), || {
            self.inspect(container, "{{.State.Running}}").is_ok_and(|running| running == "false")
        })
    }
}
