"""What things are: configuration, records, manifest, layout, errors. Imports no torch, Ray, decoder or HDF5."""
