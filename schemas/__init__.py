"""What things are: configuration, records, manifest, layout, errors. No torch, Ray, decoder or HDF5 in here."""
