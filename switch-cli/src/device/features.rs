//! The features of one device, by the names that `ethtool -k` shows.

use std::io;

use crate::sys::{ControlSocket, Feature};

/// The features of a device at one moment.
#[derive(Debug)]
pub struct Features<'a> {
    control: &'a ControlSocket,
    device: &'a str,
    /// By position; a position that means nothing to this kernel has an empty name.
    all: Vec<(String, Feature)>,
}

impl<'a> Features<'a> {
    /// Reads the features of a device.
    ///
    /// # Errors
    /// ENODEV when there is no such device.
    pub fn read(control: &'a ControlSocket, device: &'a str) -> io::Result<Self> {
        let names = control.feature_names(device)?;
        let states = control.features(device, names.len())?;
        Ok(Self {
            control,
            device,
            all: names.into_iter().zip(states).collect(),
        })
    }

    /// The features with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Feature)> {
        let named = self.all.iter().filter(|(name, _)| !name.is_empty());
        named.map(|(name, feature)| (name.as_str(), *feature))
    }

    /// The feature with this name, if this kernel has it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Feature> {
        self.iter()
            .find(|(other, _)| *other == name)
            .map(|(_, feature)| feature)
    }

    /// Asks for features to be on or off, all at once, because some depend on others. Names that
    /// this kernel does not have are left out. Reads anew what became of it.
    ///
    /// # Errors
    /// EPERM without `CAP_NET_ADMIN`, ENODEV when the device is gone.
    pub fn set(&mut self, wanted: &[(&str, bool)]) -> io::Result<()> {
        let position = |name: &str| self.all.iter().position(|(other, _)| other == name);
        let changes: Vec<_> = wanted
            .iter()
            .filter_map(|(name, on)| Some((position(name)?, *on)))
            .collect();
        if !changes.is_empty() {
            self.control
                .set_features(self.device, self.all.len(), &changes)?;
            let states = self.control.features(self.device, self.all.len())?;
            for ((_, feature), state) in self.all.iter_mut().zip(states) {
                *feature = state;
            }
        }
        Ok(())
    }
}
