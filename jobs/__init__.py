"""What runs on the cluster, and the seam (`protocol`, `spec`) between the two sides."""
