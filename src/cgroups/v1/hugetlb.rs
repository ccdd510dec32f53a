//! `hugetlb.*`: cgroup-v1/hugetlb and cgroup-v2 of the kernel's documentation.

use anyhow::Result;
use oci_spec::runtime::LinuxResources;

use crate::cgroups::setting::Setting;

pub(super) fn settings(resources: &LinuxResources) -> Result<Vec<Setting>> {
    Ok(limits(resources, "limit_in_bytes"))
}

/// Pages that are used, and with Linux 5.7 pages that are reserved: a program that would exceed
/// the latter is told at once, and not by a signal when it uses them (HUG-02).
pub(in crate::cgroups) fn limits(resources: &LinuxResources, file: &str) -> Vec<Setting> {
    let mut settings = Vec::new();
    for (index, entry) in resources.hugepage_limits().iter().flatten().enumerate() {
        let json = || format!("hugepageLimits[{index}].limit");
        let (size, limit) = (entry.page_size(), entry.limit());
        settings.push(Setting::new(json(), &format!("hugetlb.{size}.{file}"), limit));
        let reserved = Setting::new(json(), &format!("hugetlb.{size}.rsvd.{file}"), limit);
        settings.push(reserved.or_nothing(true));
    }
    settings
}

#[cfg(test)]
mod tests {
    use crate::cgroups::setting::apply;
    use crate::cgroups::tests::check;
    use serde_json::json;
    use std::fs;

    /// HUG-03: Linux before 5.7.
    #[test]
    fn a_kernel_without_reservations_has_the_other_limit() {
        let directory = std::env::temp_dir().join(format!("orlop-huge-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let limits = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4096}]});
        let settings = super::settings(&serde_json::from_value(limits).unwrap()).unwrap();
        let (used, reserved) = ("hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.rsvd.limit_in_bytes");
        apply(&settings, &directory).unwrap_err();
        for files in [&[used][..], &[used, reserved]] {
            files.iter().for_each(|file| fs::write(directory.join(file), "").unwrap());
            apply(&settings, &directory).unwrap();
            for file in files {
                assert_eq!(fs::read_to_string(directory.join(file)).unwrap(), "4096", "{file}");
            }
        }
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn translation() {
        let limits = json!([{"pageSize": "2MB", "limit": 0}, {"pageSize": "1GB", "limit": 5}]);
        let want = "hugetlb.2MB.limit_in_bytes=0 hugetlb.2MB.rsvd.limit_in_bytes=0 \
                    hugetlb.1GB.limit_in_bytes=5 hugetlb.1GB.rsvd.limit_in_bytes=5";
        check(
            super::settings,
            [(json!({}), Ok("")), (json!({"hugepageLimits": limits}), Ok(want))],
        );
    }
}
