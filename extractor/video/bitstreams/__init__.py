"""What coded pictures say of themselves: parameter sets, kinds of pictures, where decoding may begin."""
