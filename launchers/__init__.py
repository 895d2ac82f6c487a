"""Clusters: multiruns as arrays of jobs, and stages as dependent jobs."""
