use super::*;

#[test]
fn a_lease_is_refused_by_a_writer_and_broken_by_the_next() {
    for place in places() {
        place.write("f", "x");
        let open = || place.dir.open_file(&name("f")).unwrap();
        let mut writer = fs::OpenOptions::new().append(true).open(place.path.join("f")).unwrap();
        assert!(matches!(ReadLease::take(open()), Err(LeaseRefused::Writer(_))));
        assert_eq!(has_writer(open()), WriterCheck::Open);
        writer.write_all(b"y").unwrap();
        drop(writer);
        place.wait_for_writers(&name("f"));
        assert_eq!(has_writer(open()), WriterCheck::None);
        let lease = ReadLease::take(open()).unwrap();
        let _reader = open();
        assert!(lease.is_unbroken(), "readers do no harm");
        std::thread::scope(|scope| {
            let path = place.path.join("f");
            let writer = scope.spawn(move || fs::OpenOptions::new().append(true).open(path).is_ok());
            let end = Instant::now() + Duration::from_secs(20);
            while lease.is_unbroken() {
                assert!(Instant::now() < end, "the writer breaks the lease");
                std::thread::sleep(Duration::from_millis(1));
            }
            assert!(!writer.is_finished(), "it waits for the lease to be given up");
            lease.release();
            assert!(writer.join().unwrap());
        });
    }
}

#[test]
fn a_probe_says_what_the_disk_can_do_and_leaves_nothing() {
    for place in places() {
        let found = Capabilities::probe(&place.dir).unwrap();
        assert!(found.writable);
        assert_eq!(place.dir.any_name().unwrap(), None);
        println!("{}: {found:?}", place.path.display());
        if let FileSystem::Local("ext4" | "xfs" | "btrfs" | "tmpfs") = found.file_system {
            assert!(found.unnamed_files && found.exchange && found.rename_noreplace);
            assert_eq!(found.leases, Leases::Trusted);
        }
    }
}
