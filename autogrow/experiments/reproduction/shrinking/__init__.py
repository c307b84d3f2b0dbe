"""The second thesis' convolutional networks (Çallı 2017), and what is left of them."""
